"""Probabilities to labels as a configuration or a tuned file says. Part of `job=predict`.

A file of `job=tune` holds a setting for each fold, chosen on the other folds, and one for cases of no fold:
cross-validated predictions with it stay honest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from brats_ablate.errors import ConfigError
from brats_ablate.runs.renamed import with_current_names

if TYPE_CHECKING:
    import numpy as np

Labeller = Callable[["np.ndarray"], "np.ndarray"]


class LabelPipeline:
    """Thresholds and post-processing, one setting for all cases or one for each fold."""

    def __init__(self, everywhere: Labeller, folds: Mapping[int, Labeller], made_of: dict[str, Any]) -> None:
        self.everywhere, self.folds, self.made_of = everywhere, folds, made_of

    def __call__(self, probabilities: np.ndarray, fold: int | None) -> np.ndarray:
        """(3, X, Y, Z) float16 -> (X, Y, Z) uint8 nesting depths; `fold` is None for a case of no fold."""
        labeller = self.everywhere if fold is None or not self.folds else self.folds[fold]
        return labeller(probabilities)


def configured_labelling(cfg: DictConfig) -> LabelPipeline:
    """By `inference.labels` and `postprocess`."""
    node = {"labels": cfg.inference.labels, "postprocess": cfg.postprocess}
    made_of = {key: OmegaConf.to_container(value, resolve=True) for key, value in node.items()}
    return LabelPipeline(_labeller(node), {}, {"convention": cfg.data.convention, **made_of})


def tuned_labelling(cfg: DictConfig, file: Path) -> LabelPipeline:
    """By a file that `job=tune` wrote.

    Raises:
        ConfigError: there is no such file, or it is not one of `job=tune`.
    """
    if not file.is_file():
        raise ConfigError(f"job.settings={file} does not exist; give the tuned.yaml that job=tune wrote")
    tree = OmegaConf.create(with_current_names(OmegaConf.to_container(OmegaConf.load(file))))
    if not isinstance(tree, DictConfig) or not {"all", "folds"} <= tree.keys():
        raise ConfigError(f"job.settings={file} is not a file of job=tune; give the tuned.yaml that it wrote")
    folds = {int(fold): _labeller(node) for fold, node in tree.folds.items()}
    made_of = {"convention": cfg.data.convention, "settings": OmegaConf.to_container(tree)}
    return LabelPipeline(_labeller(tree["all"]), folds, made_of)


def _labeller(node: Mapping[str, Any] | DictConfig) -> Labeller:
    from brats_ablate.jobs.build import instantiate

    labels, postprocess = instantiate(node["labels"]), instantiate(node["postprocess"])
    return lambda probabilities: postprocess(labels(probabilities), probabilities)
