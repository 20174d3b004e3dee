"""`job=import`: the results of nnU-Net v2 as evaluated columns, and its networks for prediction.

Reads a folder of nnU-Net's results, writes evaluation/ and imported/. Needs no package of nnU-Net.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from brats_ablate.config.command import options_of_data, shell_command
from brats_ablate.errors import ConfigError, UserError
from brats_ablate.runs.directory import RunDirectory

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brats_ablate.jobs.import_nnunet.networks import Source
    from brats_ablate.labels.scheme import LabelScheme


def run(
    cfg: DictConfig,
    *,
    source: str | None,
    name: str | None,
    columns: bool,
    networks: bool,
    weights: str,
    check: bool,
    channels: list[str] | None,
    prediction_labels: str | None,
    references: str,
    accept_labels: bool,
    workers: int | None,
) -> None:
    """Import the folds of one trainer, plans and configuration; conf/job/import.yaml describes the keys.

    Raises:
        ConfigError: a key is invalid, or the networks compute what this program cannot reproduce.
        DataError: the folder is damaged, its labels mean something else, or cases are not scored.
    """
    from brats_ablate.config.data_options import known_schemes
    from brats_ablate.data.dataset_json import check_labels
    from brats_ablate.jobs.build import build_scheme
    from brats_ablate.jobs.evaluate import Sides, raise_problems
    from brats_ablate.jobs.import_nnunet.columns import evaluate_folds
    from brats_ablate.jobs.import_nnunet.declared_labels import DeclaredLabels, require_labels
    from brats_ablate.jobs.import_nnunet.results_folder import ResultsFolder

    if weights not in ("final", "best"):
        raise ConfigError(f"job.weights={weights} must be final or best")
    if not columns and not networks:
        raise ConfigError("job.columns=false and job.networks=false leave nothing to import; set one of them to true")
    results = ResultsFolder.open(source)
    if not results.folds:
        raise ConfigError(f"{results.path} contains no fold_0, fold_1, …; fold_all has no held-out cases")
    sides = Sides(prediction_labels, None, accept_labels)
    labels, file = sides.schemes(cfg)[0], results.path / "dataset.json"
    declared = DeclaredLabels.of(results.dataset, file)
    if not labels.has_regions_of(build_scheme(cfg)):
        raise ConfigError(
            f"job.prediction_labels={labels.name} has other regions than labels={build_scheme(cfg).name} of the data; "
            "choose a scheme of the same regions"
        )
    require_labels(declared, labels, known_schemes(), file)
    if not accept_labels:
        check_labels(file, labels, known_schemes())
    name = name or results.name
    problems: dict[str, str] = {}
    files = results.validation_files()
    if columns and files:
        problems = evaluate_folds(cfg, results, files, name, sides, references, workers)
    elif columns:
        print(f"no fold of {results.path} has validation/<case>.nii.gz, so there is no column; train it with --val")
    if networks:
        from brats_ablate.jobs.import_nnunet.networks import Source

        described = Source.of(cfg, results, declared, labels, channels)
        _import_networks(cfg, described, name, weights, check=check)
    raise_problems(problems)


def _import_networks(cfg: DictConfig, source: Source, name: str, which: str, *, check: bool) -> None:
    """Write the network of each fold and print how to use them."""
    from brats_ablate.jobs.import_nnunet.networks import import_fold, prepared_folds

    results, declared, labels = source.results, source.declared, source.labels
    files = results.validation_files()
    of_fold = prepared_folds(cfg, {fold: list(held_out) for fold, held_out in files.items()})
    checked = next((fold for fold in results.folds if files.get(fold)), None) if check and which == "final" else None
    written = []
    for fold in sorted(results.folds, key=lambda fold: fold != checked):
        run, is_new = import_fold(cfg, source, name, fold, which, of_fold.get(fold, {}))
        written.append(run)
        if fold == checked:
            _check(cfg, run, files[fold], labels, is_new=is_new)
    if check and checked is None:
        print(f"not compared with nnU-Net's predictions: it has none by checkpoint_{which}.pth")
    folder = written[0].path.parents[2]
    option = "nnunet" if declared.are_exclusive else "nnunet_regions"
    print(f"{len(written)} networks ({'own U-Net' if source.plan.as_unet() else source.plan.architecture}): {folder}")
    arguments = [f"job.runs=[{folder}]", f"job.output={name}", f"inference={option}", *_mirrored(written[0])]
    command = shell_command("job=predict", *options_of_data(cfg), *arguments, "trainer.precision=fp32")
    print(f"predict: {command}, with job.source=<folder> for new cases")


def _check(cfg: DictConfig, run: RunDirectory, files: Mapping[str, Path], labels: LabelScheme, *, is_new: bool) -> None:
    """Compare a network with nnU-Net's predictions; one that was just written and does not agree is deleted."""
    from brats_ablate.jobs.import_nnunet.agreement import require_agreement

    try:
        print(require_agreement(cfg, run, files, labels))
    except UserError:
        if is_new:
            shutil.rmtree(run.path)
        raise


def _mirrored(network: RunDirectory) -> list[str]:
    """Return the option for a network that is not mirrored along every axis."""
    axes = network.config()["inference"]["window"]["mirror_axes"]
    return [] if axes == [0, 1, 2] else [f"inference.window.mirror_axes={axes}".replace(" ", "")]
