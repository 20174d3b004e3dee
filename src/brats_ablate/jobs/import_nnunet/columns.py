"""The held-out predictions of nnU-Net's folds as an evaluation, like those of `job=evaluate`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from brats_ablate.data.folds import fold_of_case
from brats_ablate.errors import ConfigError
from brats_ablate.jobs.build import instantiate
from brats_ablate.jobs.evaluate import Sides, evaluate_files, show_result

if TYPE_CHECKING:
    from brats_ablate.jobs.import_nnunet.results_folder import ResultsFolder

FOLDS = "nnU-Net's"
"""Value of `folds` in the record of an evaluation: each case is in the fold that nnU-Net held it out in."""


def evaluate_folds(
    cfg: DictConfig,
    results: ResultsFolder,
    files: Mapping[int, Mapping[str, Path]],
    name: str,
    sides: Sides,
    references: str,
    workers: int | None,
) -> dict[str, str]:
    """Score the held-out predictions, write them as the evaluation `name`, and show their means.

    Args:
        cfg: the composed configuration.
        results: the folder.
        files: its `validation_files`.
        name: of the evaluation.
        sides: label values of predictions and references.
        references: as in `job=evaluate`.
        workers: processes; None for one per core.

    Returns:
        Case id -> why it is not scored.

    Raises:
        ConfigError: there are more folds than the data have.
        DataError: nothing can be scored, or the labels look swapped.
    """
    n_folds = int(cfg.data.n_folds)
    if max(files) >= n_folds:
        raise ConfigError(
            f"{results.fold(max(files))} is beyond the {n_folds} folds of this data set, so tables would leave it out; "
            f"prepare the data with data.n_folds={max(files) + 1} under another data.name"
        )
    scorer = instantiate(cfg.metrics)
    fold_of = {case_id: fold for fold, of_fold in files.items() for case_id in of_fold}
    merged = {case_id: path for of_fold in files.values() for case_id, path in of_fold.items()}
    for note in fold_notes(files, fold_of_case(Path(cfg.paths.prepared))):
        print(note)
    rows, problems = evaluate_files(cfg, merged, results.path, references, sides, scorer, workers, fold_of)
    members = [f"{results.name} fold={fold}" for fold in files]
    described = {"program": "nnU-Net", "trainer": results.trainer, "plans": results.plans_name}
    predicted_by = {"probabilities": {"members": members, **described, "configuration": results.configuration}}
    show_result(
        cfg, name, rows, results.path, references, scorer, sides.schemes(cfg)[0], predicted_by,
        cases=f"held-out cases of folds {sorted(files)}", folds=FOLDS,
    )  # fmt: skip
    lost = {case_id: f"{results.fold(fold)} scored it, but its file is gone" for fold in files
            for case_id in results.lost_files(fold)}  # fmt: skip
    return problems | lost


def fold_notes(files: Mapping[int, Mapping[str, Path]], ours: Mapping[str, int]) -> Iterator[str]:
    """Say how nnU-Net's folds differ from those of the prepared data; `ours` is case id -> fold.

    Nothing is said where they are the same. Cases that are not prepared are reported as without reference.
    """
    if not ours:
        return
    moved = [c for fold, of_fold in files.items() for c in of_fold if c in ours and ours[c] != fold]
    if moved:
        yield (
            f"{len(moved)} cases are in other folds than in the prepared data ({moved[0]} …); each case keeps the fold "
            "in which nnU-Net held it out"
        )
    held_out = {c for of_fold in files.values() for c in of_fold}
    missing = sorted(c for c, fold in ours.items() if c not in held_out and (fold in files or moved))
    if missing:
        yield (
            f"{len(missing)} prepared cases are held out in none of nnU-Net's folds {sorted(files)} ({missing[0]} …), "
            "and missing in this column"
        )
