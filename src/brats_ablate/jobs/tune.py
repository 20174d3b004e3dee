"""`job=tune`: the exact, exhaustive search of thresholds and post-processing. Reads predictions/, writes tuned.yaml.

From the saved, cross-validated probabilities of `job=predict`. The setting of a fold is chosen on the other folds'
cases, so that what `job=predict job.settings=…` then reaches is honest; what tuning on the evaluated cases themselves
would have claimed is shown beside it.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from omegaconf import DictConfig

from brats_ablate.errors import ConfigError, DataError
from brats_ablate.inference.prediction_store import CROSS_VALIDATED, PredictionFolder
from brats_ablate.labels import REGIONS, labels_from_probabilities
from brats_ablate.tuning.component_grid import ComponentTable, PostprocessGrid, component_table, dice_of_rules
from brats_ablate.tuning.nested_cv import select, select_conditional, sums_by_fold
from brats_ablate.tuning.result import TuningResult, write_settings
from brats_ablate.tuning.threshold_grid import ThresholdGrid, dice_of_combinations, joint_histogram

NEUTRAL_THRESHOLD = 0.5
Result = TypeVar("Result")


@dataclass(frozen=True)
class Cases:
    """The cross-validated cases of one folder of predictions, and what a worker process needs to read them."""

    folder: Path
    prepared: Path
    ids: Sequence[str]
    fold_of: Sequence[int]

    def read(self, case_id: str) -> tuple[np.ndarray, np.ndarray]:
        """(3, X, Y, Z) float16 probabilities and (X, Y, Z) uint8 reference of the cropped volume."""
        from brats_ablate.data.store import CaseStore

        probabilities, _ = PredictionFolder(self.folder).read_probabilities(case_id)
        return probabilities, CaseStore(self.prepared).read_labels(case_id)


def run(
    cfg: DictConfig,
    *,
    predictions: str,
    thresholds: dict[str, list[float]],
    most_voxels: int,
    probabilities: list[float],
    connectivity: int,
    workers: int | None,
) -> None:
    """Search, print what was found, and write `tuned.yaml` into the folder of predictions.

    Raises:
        ConfigError: a grid is impossible.
        DataError: the predictions are not cross-validated, or their probabilities were not saved.
    """
    grid, rules = _grids(thresholds, most_voxels, probabilities, connectivity)
    cases = cross_validated_cases(cfg, Path(cfg.paths.predictions) / predictions)
    processes = min(workers or len(os.sched_getaffinity(0)), len(cases.ids))

    scores = list(_each_case(partial(_threshold_scores, cases=cases, grid=grid), cases.ids, processes, "thresholds"))
    sums, counts = sums_by_fold(scores, cases.fold_of)
    first = select(sums, counts, np.abs(np.array(grid.combinations) - NEUTRAL_THRESHOLD).sum(axis=1))

    wanted = sorted({*first.per_fold, first.overall})
    task = partial(
        _components, cases=cases, combinations=[grid.combinations[i] for i in wanted], connectivity=connectivity
    )
    tables = list(_each_case(task, cases.ids, processes, "components"))
    second_sums = {
        i: sums_by_fold((_with_rules(s[i], t[k], rules) for s, t in zip(scores, tables, strict=True)), cases.fold_of)[0]
        for k, i in enumerate(wanted)
    }
    second = select_conditional(first, second_sums, counts, _intervention(rules))

    tuned = TuningResult(predictions, grid, first, rules, second, connectivity, sums / counts[:, None])
    file = cases.folder / "tuned.yaml"
    write_settings(file, tuned)
    tuned.show()
    print(f"use it: job=predict job.output=<new name> job.reuse={predictions} job.settings={file}")


def cross_validated_cases(cfg: DictConfig, folder: Path) -> Cases:
    """The cases of `folder` with saved probabilities.

    Raises:
        DataError: they are not all there, not cross-validated, or of other prepared data.
    """
    from brats_ablate.jobs.build import open_store

    saved = PredictionFolder(folder)
    made_of = saved.manifest().get("probabilities", {})
    if made_of.get("cases") != CROSS_VALIDATED:
        raise DataError(f"{folder} holds no cross-validated predictions; run job=predict job.probabilities=true first")
    store = open_store(cfg)
    if made_of["data_fingerprint"] != store.fingerprint:
        raise DataError(f"{folder} was predicted from other data than {cfg.paths.prepared} now holds; predict again")
    ids = [c for fold in store.folds for c in fold]
    missing = [c for c in ids if not saved.has_probabilities(c)]
    if missing:
        raise DataError(
            f"{folder} lacks the probabilities of {len(missing)} of {len(ids)} cases ({missing[0]}, …); run "
            "job=predict job.probabilities=true for all cases first"
        )
    return Cases(folder, Path(cfg.paths.prepared), ids, [k for k, fold in enumerate(store.folds) for _ in fold])


def _grids(
    thresholds: dict[str, list[float]], most_voxels: int, probabilities: list[float], connectivity: int
) -> tuple[ThresholdGrid, PostprocessGrid]:
    if connectivity not in (6, 18, 26):
        raise ConfigError(f"job.connectivity={connectivity} must be 6, 18 or 26")
    if most_voxels < 1 or not probabilities:
        raise ConfigError(f"job.most_voxels={most_voxels} must be at least 1, and job.probabilities not empty")
    if set(thresholds) != {"wt", "tc", "et"}:
        raise ConfigError(f"job.thresholds has the keys {', '.join(thresholds)}; it needs wt, tc and et")
    try:
        grid = ThresholdGrid(**{region: tuple(values) for region, values in thresholds.items()})
    except ValueError as error:
        raise ConfigError(f"job.thresholds.{error}") from error
    return grid, PostprocessGrid(most_voxels, tuple(sorted(probabilities)))


def _threshold_scores(case_id: str, cases: Cases, grid: ThresholdGrid) -> np.ndarray:
    """(combinations,) mean Dice of one case."""
    return dice_of_combinations(joint_histogram(*cases.read(case_id), grid)).ravel()


def _components(case_id: str, cases: Cases, combinations: Sequence[Any], connectivity: Any) -> list[ComponentTable]:
    """The ET components of one case under each of `combinations`."""
    probabilities, reference = cases.read(case_id)
    return [
        component_table(labels_from_probabilities(probabilities, c), probabilities, reference, connectivity)
        for c in combinations
    ]


def _with_rules(mean_dice: float, table: ComponentTable, rules: PostprocessGrid) -> np.ndarray:
    """(settings,) mean Dice of one case, which without rules is `mean_dice`: only ET can change."""
    et = dice_of_rules(table, rules).ravel()
    return mean_dice + (et - et[0]) / len(REGIONS)


def _intervention(rules: PostprocessGrid) -> np.ndarray:
    """(settings,): how much a setting interferes; of equals the mildest is taken."""
    probability, component, total = np.indices(rules.shape)
    return (component + total + probability / len(rules.probabilities)).ravel()


def _each_case(task: Callable[[str], Result], ids: Sequence[str], processes: int, what: str) -> Iterator[Result]:
    """`task` of every case, in order, with progress."""
    from brats_ablate.runtime.progress import ProgressBar

    with ProgressBar(what, len(ids)) as progress:
        if processes == 1:
            for case_id in ids:
                yield task(case_id)
                progress.advance()
            return
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            for result in pool.map(task, ids, chunksize=4):
                yield result
                progress.advance()
