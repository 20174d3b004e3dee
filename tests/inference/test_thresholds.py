from __future__ import annotations

import numpy as np
import pytest
import torch
from schemes import BRATS2021, GLI2024, MEN_RT

from brats_ablate.inference.thresholds import (
    MostProbableTissue,
    RegionsInOrder,
    RegionThresholds,
    ThresholdsAsReleased,
    saved_probabilities,
)
from brats_ablate.labels.scheme import LabelScheme


def test_the_papers_cascade_by_hand() -> None:
    probabilities = np.array(
        # WT just below; TC below; ET below; all above; TC and ET above without WT; ET above without TC
        [
            [0.449, 0.45, 0.9, 0.9, 0.1, 0.9],
            [0.9, 0.39, 0.4, 0.8, 0.9, 0.1],
            [0.9, 0.9, 0.44, 0.45, 0.9, 0.9],
        ],
        dtype=np.float32,
    ).reshape(3, 6, 1, 1)
    assert RegionThresholds(wt=0.45, tc=0.4, et=0.45)(probabilities, BRATS2021).ravel().tolist() == [0, 1, 2, 3, 0, 1]


def test_thresholds_are_compared_in_the_type_of_the_probabilities() -> None:
    exactly = np.full((3, 1, 1, 1), 0.45, dtype=np.float16)  # as a double it is less than 0.45
    assert float(exactly[0, 0, 0, 0]) < 0.45
    assert RegionThresholds(wt=0.45, tc=0.45, et=0.45)(exactly, BRATS2021).item() == 3


def test_the_notebooks_rule_equals_its_three_assignments() -> None:
    """In the notebook, in file values: 1 where WT, of these 2 where not TC, then 4 where ET."""
    probabilities = np.random.default_rng(0).random((3, 16, 17, 18)).astype(np.float16)
    probabilities[:, 0] = 0.5  # exactly: not above
    wt, tc, et = probabilities > 0.5
    files = wt.astype(np.uint8)
    files[wt & ~tc] = 2
    files[wt & et] = 4
    nested = np.array([0, 2, 1, 255, 3], dtype=np.uint8)[files]
    found = ThresholdsAsReleased()(probabilities, BRATS2021)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, nested)
    assert (found[wt & ~tc & et] == 3).all()  # unlike in the cascade
    assert (found != RegionThresholds(wt=0.5, tc=0.5, et=0.5)(probabilities, BRATS2021)).any()


@pytest.mark.parametrize("value", [0.0, -0.1, 1.5])
def test_a_threshold_is_a_probability_above_0(value: float) -> None:
    with pytest.raises(ValueError, match="tc="):
        RegionThresholds(wt=0.5, tc=value, et=0.5)


def test_background_can_never_become_tumor() -> None:
    lowest = RegionThresholds(wt=1e-6, tc=1e-6, et=1e-6)
    assert not lowest(np.zeros((3, 5, 6, 7), np.float32), BRATS2021).any()


def test_saved_probabilities_are_rounded_to_their_type() -> None:
    values = torch.rand(1, 3, 5, 6, 7)
    np.testing.assert_array_equal(saved_probabilities(values, torch.float32), values[0].numpy(), strict=True)
    np.testing.assert_array_equal(
        saved_probabilities(values, torch.float16), values[0].numpy().astype(np.float16), strict=True
    )


def test_other_regions_have_a_threshold_of_their_own_or_that_of_the_others() -> None:
    rc = np.zeros((4, 1, 1, 3), dtype=np.float32)
    rc[3] = [0.3, 0.5, 0.7]
    for thresholds, expected in (
        (RegionThresholds(wt=0.9, tc=0.9, et=0.9), [0, 4, 4]),  # .5
        (RegionThresholds(others=0.6, wt=0.2), [0, 0, 4]),
        (RegionThresholds(others=0.6, rc=0.25), [4, 4, 4]),
    ):
        assert thresholds(rc, GLI2024).ravel().tolist() == expected
    gtv = np.array([0.3, 0.5, 0.7], dtype=np.float32).reshape(1, 1, 1, 3)
    assert RegionThresholds(wt=0.9, others=0.6)(gtv, MEN_RT).ravel().tolist() == [0, 0, 1]  # it has no WT


@pytest.mark.parametrize("value", [0.0, 1.1, True, "half"])
def test_the_threshold_of_the_others_is_checked_too(value: object) -> None:
    with pytest.raises(ValueError, match=rf"others={value} must lie in \(0, 1\]"):
        RegionThresholds(others=value)  # type: ignore[arg-type]


def test_the_notebooks_rule_is_for_nested_regions() -> None:
    with pytest.raises(ValueError, match="needs nested regions; labels=brats2024_gli has others"):
        ThresholdsAsReleased()(np.zeros((4, 1, 1, 1), np.float32), GLI2024)
    gtv = np.array([0.5, 0.51], dtype=np.float32).reshape(1, 1, 1, 2)
    assert ThresholdsAsReleased()(gtv, MEN_RT).ravel().tolist() == [0, 1]


def test_the_most_probable_tissue_is_the_argmax_of_exclusive_classes() -> None:
    rng = np.random.default_rng(0)
    classes = rng.dirichlet(np.ones(4), (6, 7, 8)).transpose(3, 0, 1, 2).astype(np.float32)  # background, ED, NCR, ET
    regions = np.stack([classes[1:].sum(0), classes[2:].sum(0), classes[3]])
    assert np.array_equal(MostProbableTissue()(regions, BRATS2021), classes.argmax(0))
    equal = np.array([0.75, 0.5, 0.25], np.float32).reshape(3, 1, 1, 1)  # each class .25
    assert MostProbableTissue()(equal, BRATS2021).item() == 0


def test_the_most_probable_tissue_needs_nested_or_separate_regions() -> None:
    overlapping = LabelScheme("mine", {"A": 1, "B": 2, "C": 3}, {"AB": ["A", "B"], "BC": ["B", "C"], "B": ["B"]})
    with pytest.raises(ValueError, match="overlap or lack a tissue"):
        MostProbableTissue()(np.zeros((3, 1, 1, 1)), overlapping)


def test_the_last_region_decides_outside_its_enclosing_ones_too() -> None:
    probabilities = np.array([[0.9, 0.9, 0.1, 0.5], [0.9, 0.1, 0.1, 0.5], [0.1, 0.9, 0.9, 0.4]]).reshape(3, 4, 1, 1)
    tissues = [BRATS2021.tissue_names[k] for k in RegionsInOrder()(probabilities, BRATS2021).ravel()]
    assert tissues == ["NCR", "ET", "ET", "background"]
