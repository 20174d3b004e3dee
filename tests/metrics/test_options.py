"""The options of `metrics`, built as the jobs build them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from medpy.metric.binary import hd95 as medpy_hd95
from schemes import BRATS2021, REGIONS
from scorers import DEFAULT

from brats_ablate.config.locations import resource_dir
from brats_ablate.jobs.build import instantiate
from brats_ablate.metrics.case_metrics import METRICS, Scorer
from brats_ablate.metrics.instance_metrics import INSTANCE_METRICS

UNIT = (1.0, 1.0, 1.0)


def option(name: str) -> Scorer:
    with initialize_config_dir(str(resource_dir("conf") / "metrics"), version_base="1.3"):
        scorer: Scorer = instantiate(compose(name))
    return scorer


def cubes(at: int) -> np.ndarray:
    """A tumor with a core but without enhancing tumor."""
    encoded = np.zeros((24, 24, 24), dtype=np.uint8)
    encoded[at : at + 12, 4:16, 4:16] = 1
    encoded[at + 2 : at + 8, 6:12, 6:12] = 2
    return encoded


def with_enhancing_tumor(encoded: np.ndarray) -> np.ndarray:
    encoded = encoded.copy()
    encoded[8:11, 8:11, 8:11] = 3
    return encoded


def test_default_is_what_the_tests_use() -> None:
    assert option("default") == DEFAULT


@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("default", METRICS),
        ("brats2021", [*METRICS[:4], "reference_voxels", "predicted_voxels"]),
        ("brats2023", [m for m in METRICS if m != "nsd"]),
        ("brats2026", INSTANCE_METRICS),
    ],
)
def test_metrics_of_every_option(name: str, metrics: list[str]) -> None:
    scores = option(name)(cubes(4), cubes(5), UNIT, BRATS2021)
    assert {metric for region, metric in scores if region == "WT"} == set(metrics)
    assert option(name).policy.startswith(f"metrics={name}:")


def test_another_dilation_of_lesions_is_part_of_the_definitions() -> None:
    policies = {replace(option("brats2023"), lesion_dilation=n).policy for n in (1, 2, 3)}
    assert len(policies) == 3
    assert option("brats2023").policy in policies


@pytest.mark.parametrize(("name", "worst"), [("brats2021", 373.13), ("brats2023", 374)])
def test_official_values_of_empty_regions(name: str, worst: float) -> None:
    """CaPTk (2021) and BraTS-2023-Metrics: sensitivity and Dice 1 if both are empty, 0 for a false positive."""
    scores = option(name)(cubes(4), cubes(4), UNIT, BRATS2021)
    assert [scores["ET", m] for m in ("dice", "hd95", "sensitivity", "specificity")] == [1, 0, 1, 1]
    scores = option(name)(with_enhancing_tumor(cubes(4)), cubes(4), UNIT, BRATS2021)
    assert [scores["ET", m] for m in ("dice", "hd95", "sensitivity")] == [0, worst, 0]


def test_2021_has_the_distance_of_medpy() -> None:
    scores = option("brats2021")(cubes(4), cubes(7), UNIT, BRATS2021)
    predicted, reference = map(BRATS2021.to_regions_np, (cubes(4), cubes(7)))
    for k in range(2):
        expected = medpy_hd95(predicted[k], reference[k])
        assert scores[REGIONS[k], "hd95"] == pytest.approx(expected, rel=1e-9)


def test_2026_leaves_an_absent_region_without_a_score() -> None:
    scores = option("brats2026")(cubes(4), cubes(4), UNIT, BRATS2021)
    assert all(math.isnan(scores["ET", m]) for m in ("dice", "nsd", "hd95", "lesion_dice", "lesion_f1"))
    assert [scores["ET", m] for m in ("lesions_found", "lesions_missed", "lesions_invented")] == [0, 0, 0]
    assert {region for region, _ in scores} == {*REGIONS, "ED", "NCR"}
