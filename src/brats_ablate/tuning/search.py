"""Nested cross-validated search: thresholds first, then post-processing given the thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from brats_ablate.cases import CROSS_VALIDATED
from brats_ablate.data.store import CaseStore
from brats_ablate.errors import DataError
from brats_ablate.inference.postprocess import Connectivity, relabeling
from brats_ablate.inference.prediction_store import PredictionFolder
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.runtime.progress import with_progress
from brats_ablate.runtime.workers import process_map
from brats_ablate.tuning.component_grid import ComponentTable, PostprocessGrid, component_table, dice_of_settings
from brats_ablate.tuning.nested_cv import select, select_conditional, sums_by_fold
from brats_ablate.tuning.result import NEUTRAL_THRESHOLD, TuningResult
from brats_ablate.tuning.threshold_grid import Combination, ThresholdGrid, dice_of_combinations, joint_histogram


@dataclass(frozen=True)
class TuningCases:
    """The cross-validated cases of one folder of predictions. Picklable, for worker processes."""

    folder: Path
    prepared: Path
    ids: Sequence[str]
    fold_of: Sequence[int]
    labels: LabelScheme

    def read(self, case_id: str) -> tuple[np.ndarray, np.ndarray]:
        """Read (R, X, Y, Z) float16 probabilities and the (X, Y, Z) uint8 reference of the cropped volume."""
        probabilities, _ = PredictionFolder(self.folder).read_probabilities(case_id)
        return probabilities, CaseStore(self.prepared).read_labels(case_id)


def cross_validated_cases(folder: Path, store: CaseStore) -> TuningCases:
    """Return the cases of `folder` that are in folds, each with saved probabilities.

    Raises:
        DataError: cases are missing, the predictions are not cross-validated, or are of different prepared data.
    """
    predictions = PredictionFolder(folder)
    manifest = predictions.manifest()
    provenance, in_folds = manifest.get("probabilities", {}), manifest.get("folds") or {}
    if provenance.get("cases") != CROSS_VALIDATED:
        raise DataError(
            f"{folder} contains no cross-validated predictions; run job=predict job.probabilities=true first"
        )
    if provenance["data_fingerprint"] != store.fingerprint:
        raise DataError(f"{folder} was predicted from different data from {store.folder}; predict again")
    if in_folds.get("fingerprint", store.folds_fingerprint) != store.folds_fingerprint:
        raise DataError(f"{folder} was predicted out of other folds than those of {store.folder}; predict again")
    ids = [c for fold in store.folds for c in fold]
    if not ids:
        raise DataError(f"no case of {store.folder} has a segmentation; predict prepared cases that have one")
    missing = [c for c in ids if not predictions.has_probabilities(c)]
    if missing:
        raise DataError(
            f"{folder}: the probabilities of {len(missing)} of {len(ids)} cases are missing ({missing[0]}, …); run "
            "job=predict job.probabilities=true for all cases first"
        )
    return TuningCases(folder, store.folder, ids, [k for k, fold in enumerate(store.folds) for _ in fold], store.labels)


def search(
    cases: TuningCases,
    grid: ThresholdGrid,
    postprocess_grid: PostprocessGrid,
    connectivity: Connectivity,
    workers: int | None,
) -> TuningResult:
    """Choose thresholds out of fold, then post-processing out of fold given each fold's thresholds.

    A label scheme that relabels no tissue has no post-processing to choose.
    """
    if not cases.labels.relabel:
        postprocess_grid = replace(postprocess_grid, max_voxels=0, probabilities=postprocess_grid.probabilities[-1:])
    task = partial(_threshold_scores, cases=cases, grid=grid)
    scores = list(with_progress(process_map(task, cases.ids, workers=workers), "thresholds", len(cases.ids)))
    sums, counts = sums_by_fold(scores, cases.fold_of)
    distance = np.abs(np.array(grid.combinations) - NEUTRAL_THRESHOLD).sum(axis=1)
    thresholds = select(sums, counts, distance)

    chosen = sorted({*thresholds.per_fold, thresholds.overall})
    combinations = [grid.combinations[i] for i in chosen]
    of_case = partial(_component_tables, cases=cases, combinations=combinations, connectivity=connectivity)
    tables = list(with_progress(process_map(of_case, cases.ids, workers=workers), "components", len(cases.ids)))
    postprocess_sums = {}
    for k, i in enumerate(chosen):
        rows = (
            _postprocess_scores(s[i], t[k], postprocess_grid, cases.labels) for s, t in zip(scores, tables, strict=True)
        )
        postprocess_sums[i], _ = sums_by_fold(rows, cases.fold_of)
    postprocess = select_conditional(thresholds, postprocess_sums, counts, _strength(postprocess_grid))
    means = sums / counts[:, None]
    return TuningResult(grid, thresholds, postprocess_grid, postprocess, connectivity, means, cases.labels)


def _threshold_scores(case_id: str, cases: TuningCases, grid: ThresholdGrid) -> np.ndarray:
    """Return the mean Dice of one case, (combinations,)."""
    histogram = joint_histogram(*cases.read(case_id), grid, cases.labels)
    return dice_of_combinations(histogram, cases.labels).ravel()


def _component_tables(
    case_id: str, cases: TuningCases, combinations: Sequence[Combination], connectivity: Connectivity
) -> list[ComponentTable]:
    """Return the ET components of one case under each of `combinations`; none where no tissue is relabeled."""
    if not cases.labels.relabel:
        none = np.zeros(0, dtype=np.int64)
        return [ComponentTable(none, none.astype(np.float64), none, 0)] * len(combinations)
    rule, encode = relabeling(cases.labels), cases.labels.labels_from_probabilities
    probabilities, reference = cases.read(case_id)
    return [
        component_table(encode(probabilities, c), probabilities, reference, rule, connectivity) for c in combinations
    ]


def _postprocess_scores(
    mean_dice: float, table: ComponentTable, grid: PostprocessGrid, labels: LabelScheme
) -> np.ndarray:
    """Return the mean Dice of one case, (settings,). Post-processing changes only ET; without it, `mean_dice`."""
    et = dice_of_settings(table, grid).ravel()
    if labels.sized_region not in labels.averaged_names:
        return np.full(et.shape, mean_dice)
    scores: np.ndarray = mean_dice + (et - et[0]) / len(labels.averaged_names)
    return scores


def _strength(grid: PostprocessGrid) -> np.ndarray:
    """Return how much each setting changes, (settings,): among equal scores the mildest is chosen."""
    probability, component, total = np.indices(grid.shape)
    strength: np.ndarray = component + total + probability / len(grid.probabilities)
    return strength.ravel()
