from __future__ import annotations

import numpy as np
import pytest

from brats_ablate.tuning.nested_cv import select


def test_each_fold_is_scored_with_the_choice_of_the_others() -> None:
    # setting 0 is best on fold 0, setting 1 on folds 1 and 2, setting 2 on none
    means = np.array([[0.9, 0.5, 0.1], [0.4, 0.6, 0.1], [0.3, 0.8, 0.1]])
    counts = np.array([2, 1, 1])
    chosen = select(means * counts[:, None], counts, np.zeros(3))
    assert chosen.per_fold == (1, 0, 0)
    assert chosen.overall == 0  # (1.8 + .4 + .3) / 4 > (1.0 + .6 + .8) / 4
    np.testing.assert_allclose(chosen.out_of_fold, [0.5, 0.4, 0.3])
    np.testing.assert_allclose(chosen.in_sample, [0.9, 0.4, 0.3])
    assert chosen.optimism == pytest.approx(0.4 / 3)


def test_equals_choosing_case_by_case() -> None:
    generator = np.random.default_rng(0)
    scores, fold = generator.random((23, 50)), np.arange(23) % 4
    sums = np.stack([scores[fold == k].sum(axis=0) for k in range(4)])
    chosen = select(sums, np.bincount(fold), np.zeros(50))
    for k in range(4):
        assert chosen.per_fold[k] == scores[fold != k].mean(axis=0).argmax()
        assert chosen.out_of_fold[k] == pytest.approx(scores[fold == k, chosen.per_fold[k]].mean())
    assert chosen.overall == scores.mean(axis=0).argmax()


def test_ties_go_to_the_usual_setting() -> None:
    chosen = select(np.full((2, 3), 0.5), np.ones(2), np.array([0.2, 0.0, 0.1]))
    assert chosen.per_fold == (1, 1)
    assert chosen.overall == 1


def test_needs_cases_in_two_folds() -> None:
    with pytest.raises(ValueError, match="two folds"):
        select(np.ones((1, 3)), np.ones(1), np.zeros(3))
    with pytest.raises(ValueError, match="two folds"):
        select(np.ones((2, 3)), np.array([1, 0]), np.zeros(3))
