"""Chooses the best of many settings by cross-validation, and says how much choosing flatters.

On the flow (`job=tune`): scores of every setting per fold in, one choice per fold out. The setting of a fold comes from
the other folds' cases, so its score on the fold is honest; the best setting over all cases, scored on those same
cases, is not, and the difference is its optimism.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TunedSetting:
    """Indices of the chosen settings, and what they score."""

    per_fold: tuple[int, ...]
    """For each fold the setting that is best on all other folds."""
    overall: int
    """The setting that is best on all cases: for cases that no fold holds."""
    out_of_fold: tuple[float, ...]
    """Mean score of each fold under its own `per_fold` setting."""
    in_fold: tuple[float, ...]
    """Mean score of each fold under `overall`, which was chosen on it."""

    @property
    def optimism(self) -> float:
        """What tuning on the evaluated cases themselves adds to the mean over folds."""
        return float(np.mean(self.in_fold) - np.mean(self.out_of_fold))


def select(sums: np.ndarray, counts: np.ndarray, reluctance: np.ndarray) -> TunedSetting:
    """Choose by the mean over cases; ties go to the setting of least reluctance.

    Args:
        sums: (folds, settings), each fold's sum over its cases of a setting's score.
        counts: (folds,) cases of each fold, none empty.
        reluctance: (settings,), smaller is preferred: distance from the customary value.

    Raises:
        ValueError: fewer than two folds, or a fold without cases.
    """
    if len(sums) < 2 or not np.all(counts > 0):
        raise ValueError("choosing out of fold needs at least two folds with cases")
    total, cases = sums.sum(axis=0), counts.sum()
    per_fold = tuple(best((total - s) / (cases - n), reluctance) for s, n in zip(sums, counts, strict=True))
    overall = best(total / cases, reluctance)
    out = tuple(float(s[k] / n) for s, n, k in zip(sums, counts, per_fold, strict=True))
    inside = tuple(float(s[overall] / n) for s, n in zip(sums, counts, strict=True))
    return TunedSetting(per_fold, overall, out, inside)


def best(means: np.ndarray, reluctance: np.ndarray) -> int:
    """The index of the highest mean; means within 1e-12 of it are ties."""
    tied = np.flatnonzero(means >= means.max() - 1e-12)
    return int(tied[np.argmin(reluctance[tied])])


def sums_by_fold(scores: Iterable[np.ndarray], fold_of: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """(folds, settings) sums and (folds,) counts of per-case scores (settings,), which are taken one at a time."""
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
    first: TunedSetting, sums: Mapping[int, np.ndarray], counts: np.ndarray, reluctance: np.ndarray
) -> TunedSetting:
    """Choose a second setting after a first one, still out of fold: each fold's under its own first setting.

    Args:
        first: of the first setting.
        sums: for each setting that `first` chose, (folds, second settings) sums of scores under it.
        counts: (folds,) cases.
        reluctance: (second settings,).
    """
    under = {setting: select(table, counts, reluctance) for setting, table in sums.items()}
    own = [under[setting] for setting in first.per_fold]
    return TunedSetting(
        per_fold=tuple(s.per_fold[fold] for fold, s in enumerate(own)),
        overall=under[first.overall].overall,
        out_of_fold=tuple(s.out_of_fold[fold] for fold, s in enumerate(own)),
        in_fold=under[first.overall].in_fold,
    )
