from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from schemes import BRATS2021, GLI2024, MEN_RT, REGIONS
from scorers import DEFAULT

from brats_ablate.errors import ConfigError
from brats_ablate.metrics.case_metrics import METRICS, CaseMetrics, RegionMetric
from brats_ablate.metrics.instance_metrics import InstanceMetrics
from brats_ablate.metrics.surface import HD95

UNIT = (1.0, 1.0, 1.0)


def metrics(hd95: str = "brats2023") -> CaseMetrics:
    return replace(DEFAULT, hd95=hd95)  # type: ignore[arg-type]


def tumor(x: int, et: bool = True, shape: tuple[int, int, int] = (25, 26, 27)) -> np.ndarray:
    nested = np.zeros(shape, dtype=np.uint8)
    nested[x : x + 12, 4:16, 4:16] = 1
    nested[x + 2 : x + 10, 6:14, 6:14] = 2
    if et:
        nested[x + 4 : x + 8, 8:12, 8:12] = 3
    return nested


def test_every_region_has_every_metric() -> None:
    scores = metrics()(tumor(4), tumor(5), UNIT, BRATS2021)
    assert set(scores) == {(region, metric) for region in REGIONS for metric in METRICS}


def test_shifted_tumor_by_hand() -> None:
    scores = metrics()(tumor(4), tumor(5), UNIT, BRATS2021)
    for region, edge in zip(REGIONS, (12, 8, 4), strict=True):
        overlap = (edge - 1) / edge
        assert scores[region, "dice"] == pytest.approx(overlap)
        assert scores[region, "sensitivity"] == pytest.approx(overlap)
        assert scores[region, "specificity"] == pytest.approx(1 - edge**2 / (25 * 26 * 27 - edge**3))
        assert scores[region, "hd95"] == 1
        assert scores[region, "nsd"] == 1
        assert scores[region, "reference_voxels"] == edge**3


def test_empty_regions_follow_the_stated_policy() -> None:
    with_et, without = tumor(4), tumor(4, et=False)
    false_negative = metrics()(without, with_et, UNIT, BRATS2021)
    assert [false_negative["ET", m] for m in ("dice", "hd95", "nsd", "sensitivity", "lesion_hd95")] == [
        0,
        373.13,
        0,
        0,
        374,
    ]
    false_positive = metrics()(with_et, without, UNIT, BRATS2021)
    assert [false_positive["ET", m] for m in ("dice", "hd95", "nsd", "sensitivity", "lesion_hd95")] == [
        0,
        373.13,
        0,
        1,
        374,
    ]
    neither = metrics()(without, without, UNIT, BRATS2021)
    assert [neither["ET", m] for m in ("dice", "hd95", "nsd", "sensitivity", "lesion_hd95")] == [
        1,
        0,
        1,
        1,
        0,
    ]


def test_no_tumor_anywhere() -> None:
    empty = np.zeros((5, 6, 7), dtype=np.uint8)
    scores = metrics()(empty, empty, UNIT, BRATS2021)
    assert {scores[region, "dice"] for region in REGIONS} == {1}
    assert {scores[region, "specificity"] for region in REGIONS} == {1}
    assert metrics()(tumor(4), np.zeros_like(tumor(4)), UNIT, BRATS2021)["WT", "dice"] == 0


def test_the_named_definition_is_used_with_the_spacing() -> None:
    predicted, reference = tumor(3), tumor(6)
    predicted[20, 20, 20:24] = 1  # a distant component
    spacing = (0.5, 2.0, 3.0)
    hd95 = {name: metrics(name)(predicted, reference, spacing, BRATS2021)["WT", "hd95"] for name in HD95}
    for name, definition in HD95.items():
        assert hd95[name] == pytest.approx(definition(predicted > 0, reference > 0, spacing))


def test_four_regions_by_hand() -> None:
    """The shifted tumor, and a cavity beside it that is predicted one voxel too far to the right."""
    predicted, reference = tumor(4), tumor(5)
    predicted[4:10, 18:22, 18:22], reference[5:11, 18:22, 18:22] = 4, 4
    scores = metrics()(predicted, reference, UNIT, GLI2024)
    assert set(scores) == {(region, metric) for region in ("WT", "TC", "ET", "RC") for metric in METRICS}
    without = metrics()(tumor(4), tumor(5), UNIT, BRATS2021)
    assert {key: value for key, value in scores.items() if key[0] != "RC"} == without  # a cavity is no tumor
    assert scores["RC", "dice"] == pytest.approx(5 / 6)
    assert scores["RC", "hd95"] == 1
    assert scores["RC", "reference_voxels"] == 6 * 4 * 4
    assert scores["RC", "specificity"] == pytest.approx(1 - 16 / (25 * 26 * 27 - 96))


def test_a_case_whose_only_label_is_a_later_region() -> None:
    cavity = np.zeros((9, 9, 9), dtype=np.uint8)
    cavity[2:5, 2:5, 2:5] = 4
    scores = metrics()(cavity, np.zeros_like(cavity), UNIT, GLI2024)
    assert [scores[region, "dice"] for region in ("WT", "TC", "ET", "RC")] == [1, 1, 1, 0]


def test_one_region_by_hand() -> None:
    predicted, reference = (tumor(x).astype(bool).astype(np.uint8) for x in (4, 5))
    scores = metrics()(predicted, reference, UNIT, MEN_RT)
    assert {region for region, _ in scores} == {"GTV"}
    assert scores["GTV", "dice"] == pytest.approx(11 / 12)
    assert scores["GTV", "reference_voxels"] == 12**3


def test_rejects_two_grids() -> None:
    with pytest.raises(ValueError, match="not on one grid"):
        metrics()(tumor(4), tumor(4)[1:], UNIT, BRATS2021)


def _volume_error(predicted: np.ndarray, reference: np.ndarray, spacing_mm: tuple[float, float, float]) -> float:
    return float(predicted.sum() - reference.sum()) * float(np.prod(spacing_mm))


def test_an_extra_metric_gets_the_masks_of_each_region() -> None:
    extended = replace(DEFAULT, extra={"volume_error": _volume_error})
    scores = extended(tumor(4, et=False), tumor(4), (1.0, 2.0, 1.5), BRATS2021)
    assert [scores[region, "volume_error"] for region in REGIONS] == [0, 0, -(4**3) * 3]
    for name in ("dice", "Dice", "HD95"):
        with pytest.raises(ValueError, match=rf"extra\.{name} is the name of a built-in metric; rename it"):
            replace(DEFAULT, extra={name: _volume_error})


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        (
            lambda predicted, reference: 0.0,
            r"TypeError: .* 2 positional arguments but 3 were given\)",
        ),
        (lambda predicted, reference, spacing: None, r"TypeError: .*NoneType'\)"),
        (lambda predicted, reference, spacing: {}["mm"], r"KeyError: 'mm'; test_case_metrics\.py, line"),
    ],
)
@pytest.mark.parametrize("built_in", [DEFAULT, InstanceMetrics("mine", 373.0)])
def test_an_extra_metric_that_fails_is_named(
    own: RegionMetric, reason: str, built_in: CaseMetrics | InstanceMetrics
) -> None:
    extended = replace(built_in, extra={"volume_error": own})
    with pytest.raises(ConfigError, match=rf"^metrics\.extra\.volume_error cannot score a region \({reason}"):
        extended(tumor(4), tumor(5), UNIT, BRATS2021)
