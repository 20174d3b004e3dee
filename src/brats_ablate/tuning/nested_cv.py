"""Choose the best of many settings by cross-validation, and estimate the selection bias.

The setting of a fold is chosen on the other folds' cases, so its score on the fold is unbiased. The best setting over
all cases, scored on those same cases, is biased; the difference is its optimism.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TunedSetting:
    """Indices of the chosen settings, and their scores."""

    per_fold: tuple[int, ...]
    """For each fold the setting that is best on all other folds."""
    overall: int
    """The setting that is best on all cases, for cases of no fold."""
    out_of_fold: tuple[float, ...]
    """Mean score of each fold under its `per_fold` setting."""
    in_sample: tuple[float, ...]
    """Mean score of each fold under `overall`, which was chosen on all folds."""

    @property
    def optimism(self) -> float:
        """Difference of the mean over folds, in-sample minus out of fold."""
        return float(np.mean(self.in_sample) - np.mean(self.out_of_fold))


def select(sums: np.ndarray, counts: np.ndarray, tie_break: np.ndarray) -> TunedSetting:
    """Choose by the mean over cases; ties go to the setting of smallest `tie_break`.

    Args:
        sums: (folds, settings), each fold's sum over its cases of a setting's score.
        counts: (folds,) cases of each fold, none empty.
        tie_break: (settings,), the distance from the usual value.

    Raises:
        ValueError: fewer than two folds, or a fold without cases.
    """
    if len(sums) < 2 or not np.all(counts > 0):
        raise ValueError("choosing out of fold needs at least two folds with cases")
    total, cases = sums.sum(axis=0), counts.sum()
    per_fold = tuple(best((total - s) / (cases - n), tie_break) for s, n in zip(sums, counts, strict=True))
    overall = best(total / cases, tie_break)
    out_of_fold = tuple(float(s[k] / n) for s, n, k in zip(sums, counts, per_fold, strict=True))
    in_sample = tuple(float(s[overall] / n) for s, n in zip(sums, counts, strict=True))
    return TunedSetting(per_fold, overall, out_of_fold, in_sample)


def best(means: np.ndarray, tie_break: np.ndarray) -> int:
    """Return the index of the highest mean; means within 1e-12 of it are ties."""
    tied = np.flatnonzero(means >= means.max() - 1e-12)
    return int(tied[np.argmin(tie_break[tied])])


def sums_by_fold(scores: Iterable[np.ndarray], fold_of: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return (folds, settings) sums and (folds,) counts of per-case scores (settings,), consumed one at a time."""
    counts = np.bincount(fold_of)
    sums: np.ndarray | None = None
    for fold, row in zip(fold_of, scores, strict=True):
        if sums is None:
            sums = np.zeros((len(counts), len(row)))
        sums[fold] += row
    if sums is None:
        raise ValueError("there are no scores to choose from")
    return sums, counts


def select_conditional(
    first: TunedSetting, sums: Mapping[int, np.ndarray], counts: np.ndarray, tie_break: np.ndarray
) -> TunedSetting:
    """Choose a second setting out of fold, given the first setting of each fold.

    `sums` holds the (folds, second settings) sums of scores under each setting that `first` chose; `counts` (folds,)
    and `tie_break` (second settings,) are those of `select`.
    """
    given = {setting: select(table, counts, tie_break) for setting, table in sums.items()}
    of_fold = [given[setting] for setting in first.per_fold]
    return TunedSetting(
        per_fold=tuple(s.per_fold[fold] for fold, s in enumerate(of_fold)),
        overall=given[first.overall].overall,
        out_of_fold=tuple(s.out_of_fold[fold] for fold, s in enumerate(of_fold)),
        in_sample=given[first.overall].in_sample,
    )
