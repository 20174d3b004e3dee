"""Effects of a full factorial design: main effects, interactions, and each factor given all others.

An effect is a contrast of the columns' mean Dice (Box, Hunter and Hunter, Statistics for Experimenters, chapter 5). It
is estimated and tested as the difference of two columns is; one step-down maxT test covers all effects of a design.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from brats_ablate.tables.comparison import Tested, decide, not_testable
from brats_ablate.tables.difference import Settings, estimate_differences
from brats_ablate.tables.tested_scores import ColumnRuns, gather, shared_set
from brats_ablate.tables.variance import FoldStatistics, without_copies

EffectKind = Literal["main", "interaction", "given all others"]
_ALL_ORDERS = 3
"""Up to this many factors the interactions of all orders are shown, else those of two factors."""


@dataclass(frozen=True, kw_only=True)
class Effect(Tested):
    """One effect. `main`: what the factor changes, averaged over the combinations of the others.

    `interaction`: by how much more one factor changes with the other than without it. `given all others`: the
    combination of all factors minus the one without this factor.
    """

    kind: EffectKind
    factors: tuple[str, ...]


def effects(
    factors: Sequence[str], on: Sequence[frozenset[str]], columns: Sequence[ColumnRuns], settings: Settings
) -> list[Effect]:
    """Estimate and test the effects of a full factorial.

    Args:
        factors: in the order of the table.
        on: the factors that are on in each column: every combination once.
        columns: scores under test.
        settings: of the table.

    Returns:
        Main effects, interactions, and each factor given all others. Not decided unless every column is trained.
    """
    shared = shared_set(*columns)
    reason = not_testable(shared, "all combinations")
    size, folds = shared.size, len(shared.folds)
    named = _names(factors)
    plain = [Effect(kind=k, factors=of, cases=size, folds=folds, runs=shared.runs, reason=reason) for k, of in named]
    if reason:
        return plain
    scores = gather(shared, columns)
    contrasts = np.array([contrast(kind, of, factors, on) for kind, of in named])
    x, contrasts = without_copies(scores.x, contrasts)
    differences = estimate_differences(FoldStatistics.of_patients(x, scores.fold), contrasts, settings)
    return [decide(replace(e, **vars(d)), settings) for e, d in zip(plain, differences, strict=True)]


def contrast(kind: EffectKind, of: Sequence[str], factors: Sequence[str], on: Sequence[frozenset[str]]) -> np.ndarray:
    """Return the (k,) weights of the columns in an effect of the factors `of`."""
    if kind == "given all others":
        everything = frozenset(factors)
        return np.array([float(c == everything) - float(c == everything - set(of)) for c in on])
    signs = np.array([[1.0 if name in c else -1.0 for name in of] for c in on])
    weights: np.ndarray = signs.prod(axis=1) / 2 ** (len(factors) - len(of))
    return weights


def _names(factors: Sequence[str]) -> list[tuple[EffectKind, tuple[str, ...]]]:
    most = len(factors) if len(factors) <= _ALL_ORDERS else 2
    orders = range(2, most + 1)
    interactions = [of for order in orders for of in itertools.combinations(factors, order)]
    return [
        *(("main", (name,)) for name in factors),
        *(("interaction", of) for of in interactions),
        *(("given all others", (name,)) for name in factors),
    ]
