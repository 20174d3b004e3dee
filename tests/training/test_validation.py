"""Validation against Dice computed by hand, for one and for four regions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from schemes import GLI2024, MEN_RT
from torch import Tensor

from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.metrics.dice import dice_per_region
from brats_ablate.training.distributed import DistributedContext
from brats_ablate.training.validation import Validation, ValidationResult


def validate(labels: LabelScheme, cases: dict[str, tuple[list[list[float]], list[int]]]) -> ValidationResult:
    """Validate cases of a few voxels: probabilities by region, reference labels."""

    def load(case_id: str) -> tuple[Tensor, Tensor]:
        probabilities, reference = cases[case_id]
        encoded = torch.tensor(reference, dtype=torch.uint8).view(1, -1, 1, 1)
        return torch.tensor(probabilities)[None, :, :, None, None], labels.to_regions(encoded)[0]

    seen: dict[str, tuple[int, ...]] = {}
    validation = Validation(
        list(cases), labels, load, lambda volume: volume, dice_per_region, lambda c, p: seen.update({c: tuple(p.shape)})
    )
    result = validation.run(DistributedContext(), lambda: False)
    assert result is not None
    assert seen == {c: (len(labels.regions), len(reference), 1, 1) for c, (_, reference) in cases.items()}
    return result


FOUR = {
    # SNFH, NETC, ET, RC, background
    "b": ([[0.9, 0.9, 0.9, 0.1, 0.1], [0.1, 0.9, 0.9, 0.1, 0.1], [0.1, 0.1, 0.4, 0.1, 0.1], [0.1, 0.1, 0.1, 0.9, 0.9]], [1, 2, 3, 4, 0]),
    # no ET, no RC: both are predicted empty
    "a": ([[0.9, 0.9, 0.1, 0.1], [0.1, 0.9, 0.1, 0.1], [0.5, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1]], [1, 2, 2, 0]),
}  # fmt: skip


def test_four_regions_by_hand() -> None:
    result = validate(GLI2024, FOUR)
    first, second = result.cases
    assert first == {"case": "b", "WT": 1, "TC": 1, "ET": 0, "RC": pytest.approx(2 / 3), "ET_reference": 1}
    assert second == {
        "case": "a",
        "WT": pytest.approx(4 / 5),
        "TC": pytest.approx(2 / 3),
        "ET": 1,
        "RC": 1,
        "ET_reference": 0,
    }
    expected = {"dice/WT": 9 / 10, "dice/TC": 5 / 6, "dice/ET": 1 / 2, "dice/RC": 5 / 6}
    assert result.means == pytest.approx({"dice": sum(expected.values()) / 4, **expected})


def test_only_the_averaged_regions_make_the_mean() -> None:
    result = validate(replace(GLI2024, averaged=("WT", "ET")), FOUR)
    assert result.means["dice"] == pytest.approx((9 / 10 + 1 / 2) / 2)
    assert result.means["dice/RC"] == pytest.approx(5 / 6)


def test_one_region_by_hand() -> None:
    result = validate(MEN_RT, {"a": ([[0.9, 0.51, 0.5, 0.1]], [1, 0, 1, 1])})
    assert result.cases == [{"case": "a", "GTV": pytest.approx(2 / 5), "GTV_reference": 3}]
    assert result.means == pytest.approx({"dice": 2 / 5, "dice/GTV": 2 / 5})
