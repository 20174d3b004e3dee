from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from brats_ablate.tables.comparison import BETTER, EQUIVALENT, NOT_DECIDED, WORSE, compare
from brats_ablate.tables.difference import Settings
from brats_ablate.tables.effects import EffectKind, contrast, effects
from brats_ablate.tables.spec import is_full_factorial
from brats_ablate.tables.tested_scores import ColumnRuns, RunScores

SETTINGS = Settings(folds=5, draws=2000)
THREE = ("a", "b", "c")


def combinations(factors: tuple[str, ...]) -> list[frozenset[str]]:
    return [frozenset(on) for size in range(len(factors) + 1) for on in itertools.combinations(factors, size)]


def columns(shifts: list[float], *, runs: int = 3, noise: float = 0.003) -> list[ColumnRuns]:
    """Columns on the same 5 × 12 patients whose Dice is shifted by `shifts`."""
    draw = np.random.default_rng(0)
    difficulty = draw.normal(0.8, 0.05, (5, 12))
    return [
        {
            (lr, 0): {
                fold: RunScores(
                    tuple(f"p{fold}-{i:02d}" for i in range(12)),
                    difficulty[fold] + shift + draw.normal(0, noise, 12),
                    np.zeros(12),
                    np.full(12, np.nan),
                )
                for fold in range(5)
            }
            for lr in range(runs)
        }
        for shift in shifts
    ]


def means(of: list[ColumnRuns]) -> np.ndarray:
    return np.array([np.mean([np.mean([f.dice.mean() for f in run.values()]) for run in c.values()]) for c in of])


@pytest.mark.parametrize("factors", [("a", "b"), THREE, ("a", "b", "c", "d")])
def test_main_effects_and_interactions_are_the_coefficients_of_a_regression(factors: tuple[str, ...]) -> None:
    """Regressing on factors coded ±1 and their products gives half of the main effects, a quarter of the interactions."""
    on = combinations(factors)
    y = np.random.default_rng(1).normal(size=len(on))
    terms = [of for size in range(1, len(factors) + 1) for of in itertools.combinations(factors, size)]
    coded = np.array([[1.0, *(np.prod([1 if f in c else -1 for f in of]) for of in terms)] for c in on])
    coefficients = np.linalg.lstsq(coded, y, rcond=None)[0][1:]
    for of, coefficient in zip(terms, coefficients, strict=True):
        kind: EffectKind = "main" if len(of) == 1 else "interaction"
        assert contrast(kind, of, factors, on) @ y == pytest.approx(coefficient * 2 ** len(of))


def test_effects_by_hand() -> None:
    """a adds 0.02, b 0.01, both together 0.05 instead of 0.03."""
    on = combinations(("a", "b"))
    found = {
        (e.kind, e.factors): e for e in effects(("a", "b"), on, columns([0, 0.02, 0.01, 0.05], noise=1e-4), SETTINGS)
    }
    assert {key: round(e.difference, 3) for key, e in found.items()} == {
        ("main", ("a",)): 0.03,
        ("main", ("b",)): 0.02,
        ("interaction", ("a", "b")): 0.02,
        ("given all others", ("a",)): 0.04,
        ("given all others", ("b",)): 0.03,
    }
    assert {e.verdict for e in found.values()} == {BETTER}


def test_signs_and_equivalence() -> None:
    on = combinations(("a", "b"))
    found = {
        (e.kind, e.factors): e.verdict
        for e in effects(("a", "b"), on, columns([0, -0.02, 0, -0.02], noise=1e-4), SETTINGS)
    }
    assert found["main", ("a",)] == WORSE
    assert found["main", ("b",)] == found["interaction", ("a", "b")] == EQUIVALENT


def test_the_numbers_are_those_of_the_columns() -> None:
    of = columns(list(np.random.default_rng(2).normal(0, 0.01, 8)))
    on = combinations(THREE)
    for e in effects(THREE, on, of, SETTINGS):
        assert e.difference == pytest.approx(contrast(e.kind, e.factors, THREE, on) @ means(of))
        assert e.interval.low < e.difference < e.interval.high
        assert (e.cases, e.folds, len(e.runs)) == (60, 5, 3)


@pytest.mark.parametrize("runs", [1, 3])
def test_a_factor_given_all_others_is_the_comparison_of_two_columns(runs: int) -> None:
    """The same difference and patients' part; the training part is pooled over all columns of either table."""
    of = columns([0.0, 0.01, 0.02, 0.03], runs=runs)
    on = combinations(("a", "b"))
    given = next(
        e for e in effects(("a", "b"), on, of, SETTINGS) if e.kind == "given all others" and e.factors == ("a",)
    )
    (compared,) = compare([(3, 2)], of, SETTINGS)
    assert given.difference == pytest.approx(compared.difference)
    assert given.case_variance == pytest.approx(compared.case_variance)


def test_a_main_effect_of_two_pairs_varies_half_as_much_as_one_difference() -> None:
    """Of patients' noise that is independent between columns: (1/2)² of four columns against 1² of two."""
    of = columns([0.0] * 4, noise=0.01)
    found = effects(("a", "b"), combinations(("a", "b")), of, SETTINGS)
    main, given = (next(e for e in found if e.kind == kind) for kind in ("main", "given all others"))
    assert main.case_variance / given.case_variance == pytest.approx(0.5, rel=0.35)


def test_a_missing_combination_leaves_the_design_undecided() -> None:
    of = columns([0.0] * 4)
    of[3] = {}
    found = effects(("a", "b"), combinations(("a", "b")), of, SETTINGS)
    assert {e.verdict for e in found} == {NOT_DECIDED}
    assert {e.reason for e in found} == {"no common finished fold with per-case rows"}


def test_many_factors_have_interactions_of_two() -> None:
    four = ("a", "b", "c", "d")
    found = effects(four, combinations(four), columns([0.0] * 16), replace(SETTINGS, draws=200))
    assert [len(e.factors) for e in found if e.kind == "interaction"] == [2] * 6


def test_a_factorial_is_recognized() -> None:
    on = combinations(THREE)
    assert is_full_factorial(on)
    assert not is_full_factorial(on[:-1])
    assert not is_full_factorial([*on[:-1], on[0]])
    assert not is_full_factorial([frozenset(), frozenset("a")])
