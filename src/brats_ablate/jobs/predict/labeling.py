"""Build the label pipeline of `job=predict` from the configuration, or from a file of `job=tune`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from brats_ablate.config.check import resolve
from brats_ablate.config.trust import named_targets, require_plain, require_trusted
from brats_ablate.errors import ConfigError
from brats_ablate.inference.label_pipeline import LabelPipeline, LabelSetting
from brats_ablate.jobs.build import build_scheme, instantiate
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.runs.renamed import with_current_names

if TYPE_CHECKING:
    from brats_ablate.jobs.predict.case_source import CaseSource


def configured_pipeline(cfg: DictConfig) -> LabelPipeline:
    """Return the pipeline of `inference.labels` and `postprocess`."""
    node = {"labels": cfg.inference.labels, "postprocess": cfg.postprocess}
    plain = {key: OmegaConf.to_container(value, resolve=True) for key, value in node.items()}
    scheme = build_scheme(cfg)
    return LabelPipeline(_setting(node, scheme), {"convention": scheme.key, **plain})


def tuned_pipeline(cfg: DictConfig, file: Path) -> LabelPipeline:
    """Return the pipeline of a file that `job=tune` wrote, with a setting for each fold.

    Raises:
        ConfigError: the file does not exist, was not written by `job=tune`, or names a class that is not trusted.
    """
    if not file.is_file():
        raise ConfigError(f"job.settings={file} does not exist; give the tuned.yaml that job=tune wrote")
    tree = OmegaConf.create(with_current_names(OmegaConf.to_container(OmegaConf.load(file))))
    if not isinstance(tree, DictConfig) or not {"all", "folds"} <= tree.keys():
        raise ConfigError(f"job.settings={file} was not written by job=tune; give the tuned.yaml that it wrote")
    plain = OmegaConf.to_container(tree)
    require_plain(plain, file)
    require_trusted(plain, file, named_targets(resolve(cfg)))
    scheme = build_scheme(cfg)
    provenance = {"convention": scheme.key, "settings": OmegaConf.to_container(tree)}
    folds = {int(fold): _setting(node, scheme) for fold, node in tree.folds.items()}
    return LabelPipeline(_setting(tree["all"], scheme), provenance, folds)


def check_folds_of_settings(pipeline: LabelPipeline, source: CaseSource) -> None:
    """Check that tuned settings have one for each fold of the cases, chosen on the same folds; others always pass.

    Settings of earlier versions do not name the data that they were chosen on.

    Raises:
        ConfigError: they were tuned on other prepared data, or a fold is missing.
    """
    if not pipeline.folds or not source.fold_of:
        return
    tuned_on, prepared = pipeline.provenance["settings"].get("data_fingerprint"), source.provenance["data_fingerprint"]
    if tuned_on not in (None, prepared):
        raise ConfigError(
            "job.settings was tuned on other prepared data, so its folds have other cases; run job=tune again"
        )
    folds = {source.fold_of[case_id] for case_id in source.case_ids if case_id in source.fold_of}
    if missing := sorted(folds - pipeline.folds.keys()):
        raise ConfigError(f"job.settings has no setting of fold {missing[0]}; run job=tune on predictions of all folds")


def _setting(node: Mapping[str, Any] | DictConfig, scheme: LabelScheme) -> LabelSetting:
    return LabelSetting(instantiate(node["labels"]), instantiate(node["postprocess"]), scheme)
