"""Compare the columns of a table with their baseline: differences, confidence intervals, one test, and verdicts.

The score is each patient's mean Dice over the last epochs, averaged over the learning rates and seeds that a column
and its baseline share (`tested_scores`). One step-down maxT test covers all columns of a table. `docs/statistics.md`
has the formulas, and false-positive rates, power and coverage in simulated tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeVar

import numpy as np

from brats_ablate.tables.difference import Difference, Settings, estimate_differences, pair_contrasts
from brats_ablate.tables.statistics import LEVEL
from brats_ablate.tables.tested_scores import ColumnRuns, RunKey, SharedScores, SharedSet, gather, shared_set
from brats_ablate.tables.variance import FoldStatistics, without_copies

ALPHA = 1 - LEVEL
FEW_PATIENTS = 20
"""Below this, intervals and verdicts carry the words `SMALL_SAMPLE`."""
SMALL_SAMPLE = "small sample"
NEGLIGIBLE = "negligible"
"""Said of a difference that is significant and whose interval lies within the region of practical equivalence."""

BETTER: Final = "better"
WORSE: Final = "worse"
EQUIVALENT: Final = "equivalent"
UNDECIDED: Final = "undecided"
NOT_DECIDED: Final = "not decided"
Verdict = Literal["better", "worse", "equivalent", "undecided", "not decided"]
"""`UNDECIDED`: tested, without a finding. `NOT_DECIDED`: could not be tested; the reason says why."""


@dataclass(frozen=True)
class Flips:
    """Patients whose reference lacks the sized region (ET): its Dice is 1 if it is predicted empty, else 0."""

    patients: int
    gained: int
    """Predicted empty in most runs and epochs of the column, and not of the baseline."""
    lost: int
    """The reverse."""


@dataclass(frozen=True, kw_only=True)
class Tested(Difference):
    """A difference of columns in mean Dice of the regions, with its verdict."""

    cases: int = 0
    """Patients that all of its columns have."""
    folds: int = 0
    """That all have."""
    runs: tuple[RunKey, ...] = ()
    """Learning rates and seeds that all have in each of these folds."""
    verdict: Verdict = NOT_DECIDED
    reason: str = ""

    @property
    def is_small(self) -> bool:
        """Whether there are too few patients to rely on the stated error rates."""
        return 0 < self.cases < FEW_PATIENTS


@dataclass(frozen=True, kw_only=True)
class Comparison(Tested):
    """One column compared with its baseline: column minus baseline."""

    column: int
    baseline: int
    on_reference: Comparison | None = field(default=None, repr=False)
    """The same on the patients whose reference has the sized region (ET); a family of its own."""
    flips: Flips | None = None
    """None where the reference volumes are not recorded."""


AnyTested = TypeVar("AnyTested", bound=Tested)


def compare(pairs: Sequence[tuple[int, int]], columns: Sequence[ColumnRuns], settings: Settings) -> list[Comparison]:
    """Compare each (column, baseline) of `pairs`.

    Pairs that share folds, runs and patients are a family; adjusted p-values are multiplied by the number of families.
    """
    comparisons: list[Comparison] = []
    families: dict[SharedSet, list[int]] = {}
    for column, baseline in pairs:
        shared = shared_set(columns[column], columns[baseline])
        reason = not_testable(shared)
        if not reason:
            families.setdefault(shared, []).append(len(comparisons))
        size, folds = shared.size, len(shared.folds)
        new = Comparison(column=column, baseline=baseline, cases=size, folds=folds, runs=shared.runs, reason=reason)
        comparisons.append(new)
    for shared, indices in families.items():
        family = [comparisons[k] for k in indices]
        members = sorted({i for c in family for i in (c.column, c.baseline)})
        scores = gather(shared, [columns[i] for i in members])
        at = np.array([[members.index(c.column), members.index(c.baseline)] for c in family])
        for k, compared in zip(indices, _compare_family(family, at, scores, settings, len(families)), strict=True):
            comparisons[k] = compared
    return comparisons


def not_testable(shared: SharedSet, both: str = "both columns") -> str:
    """Return why columns cannot be tested; "" if they can. `both` is what the columns are called."""
    if not shared.folds:
        return "no common finished fold with per-case rows"
    if len(shared.folds) < 2:
        return "one fold does not show run-to-run variability"
    if not shared.runs:
        return f"no learning rate and seed is finished in every fold of {both}"
    if not all(shared.patients):
        return f"a fold has no patient that {both} have"
    if shared.size == len(shared.folds):
        return "one patient per fold is not enough for a test"
    return ""


def _compare_family(
    family: Sequence[Comparison], pairs: np.ndarray, scores: SharedScores, settings: Settings, families: int
) -> list[Comparison]:
    """Test a family; `pairs` are its columns and baselines in `scores`."""
    tested = _tested(family, scores.x, scores.fold, pairs, settings, families)
    if np.isnan(scores.sized_voxels).any():
        return tested
    on = scores.sized_voxels > 0
    flips = [_flips(*scores.sized_dice[pair][:, ~on]) for pair in pairs]
    tested = [replace(c, flips=f) for c, f in zip(tested, flips, strict=True)]
    per_fold = np.bincount(scores.fold[on], minlength=int(scores.fold.max()) + 1)
    if on.all() or not per_fold.all() or per_fold.max() == 1:
        return tested
    plain = [replace(c, cases=int(on.sum())) for c in family]
    subgroup = _tested(plain, scores.x[:, :, on], scores.fold[on], pairs, settings, families)
    return [replace(c, on_reference=s) for c, s in zip(tested, subgroup, strict=True)]


def _tested(
    family: Sequence[Comparison], x: np.ndarray, fold: np.ndarray, pairs: np.ndarray, settings: Settings, families: int
) -> list[Comparison]:
    distinct, contrasts = without_copies(x, pair_contrasts(pairs, len(x)))
    statistics = FoldStatistics.of_patients(distinct, fold)
    differences = estimate_differences(statistics, contrasts, settings, families)
    return [decide(replace(c, **vars(d)), settings) for c, d in zip(family, differences, strict=True)]


def _flips(column: np.ndarray, baseline: np.ndarray) -> Flips:
    ours, theirs = column > 0.5, baseline > 0.5
    return Flips(len(column), int((ours & ~theirs).sum()), int((theirs & ~ours).sum()))


def decide(c: AnyTested, settings: Settings, notes: Sequence[str] = ()) -> AnyTested:
    """Return `c` with its verdict and the reason for it; `notes` are further parts of the reason."""
    notes = [*notes, *([f"{c.folds} of {settings.folds} folds"] if 0 < c.folds < settings.folds else [])]
    notes += [f"{SMALL_SAMPLE} (n = {c.cases})"] if c.is_small else []
    if np.isnan(c.p_adjusted):
        what = "every patient scores the same" if abs(c.difference) < 1e-12 else "the difference does not vary"
        return replace(c, reason="; ".join([what, *notes]))
    verdict: Verdict = EQUIVALENT if is_negligible(c, settings) else UNDECIDED
    if c.p_adjusted <= ALPHA:
        notes = [NEGLIGIBLE, *notes] if verdict == EQUIVALENT else notes
        verdict = BETTER if c.difference > 0 else WORSE
    return replace(c, verdict=verdict, reason="; ".join(notes))


def is_negligible(c: Tested, settings: Settings) -> bool:
    """Return whether the interval of a difference lies within the region of practical equivalence."""
    return -settings.rope <= c.interval.low and c.interval.high <= settings.rope
