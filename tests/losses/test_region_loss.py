"""The region loss against MONAI's losses, a hand-computed case, and finite differences."""

from __future__ import annotations

import pytest
import torch
from monai.losses import DiceLoss, FocalLoss
from schemes import BRATS2021, GLI2024, MEN_RT

from brats_ablate.losses.region_loss import RegionLoss
from brats_ablate.losses.voxelwise import BinaryCrossEntropy, Focal

SHAPE = (5, 6, 7)


def random_case(batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(batch, 3, *SHAPE, generator=generator) * 3
    labels = torch.randint(0, 4, (batch, *SHAPE), generator=generator, dtype=torch.uint8)
    return logits, labels


def bce_dice() -> RegionLoss:
    return RegionLoss(BinaryCrossEntropy(), "process", 1e-5, BRATS2021)


def test_dice_is_monais_batch_dice_summed_over_regions() -> None:
    logits, labels = random_case()
    oracle = DiceLoss(sigmoid=True, batch=True, reduction="sum")(logits, BRATS2021.to_regions(labels).float())
    torch.testing.assert_close(bce_dice()(logits, labels)["dice"], oracle, rtol=1e-6, atol=0)


def test_bce_is_torchs_mean_per_region_summed() -> None:
    logits, labels = random_case()
    target = BRATS2021.to_regions(labels).float()
    oracle = sum(torch.nn.BCEWithLogitsLoss()(logits[:, k], target[:, k]) for k in range(3))
    torch.testing.assert_close(bce_dice()(logits, labels)["bce"], oracle, rtol=1e-6, atol=0)


def test_focal_is_monais_without_alpha() -> None:
    logits, labels = random_case()
    target = BRATS2021.to_regions(labels).float()
    oracle = sum(FocalLoss(gamma=2.0, alpha=None)(logits[:, k : k + 1], target[:, k : k + 1]) for k in range(3))
    terms = RegionLoss(Focal(2.0), "process", 1e-5, BRATS2021)(logits, labels)
    assert set(terms) == {"focal", "dice"}
    torch.testing.assert_close(terms["focal"], oracle, rtol=1e-5, atol=0)


def test_focal_of_gamma_zero_is_cross_entropy() -> None:
    logits, labels = random_case()
    focal = RegionLoss(Focal(0.0), "process", 1e-5, BRATS2021)(logits, labels)["focal"]
    torch.testing.assert_close(focal, bce_dice()(logits, labels)["bce"], rtol=1e-6, atol=0)


def test_by_hand() -> None:
    # Two voxels, NCR and background: WT and TC are true in the first, ET nowhere. Logits 0: p = ½ everywhere.
    labels = torch.tensor([2, 0], dtype=torch.uint8).view(1, 2, 1, 1)
    terms = bce_dice()(torch.zeros(1, 3, 2, 1, 1), labels)
    # WT, TC: 1 - 2·½ / (1 + 1) = ½.  ET: 1 - ε / (1 + ε), practically 1.  BCE: log 2 per region.
    assert terms["dice"].item() == pytest.approx(2.0, abs=2e-5)
    assert terms["bce"].item() == pytest.approx(3 * 0.6931472, rel=1e-6)


def test_one_region_by_hand() -> None:
    # GTV and background at logits 0, p = ½: Dice 1 - 2·½ / (1 + 1) = ½, cross-entropy log 2.
    labels = torch.tensor([1, 0], dtype=torch.uint8).view(1, 2, 1, 1)
    terms = RegionLoss(BinaryCrossEntropy(), "process", 1e-5, MEN_RT)(torch.zeros(1, 1, 2, 1, 1), labels)
    assert terms["dice"].item() == pytest.approx(0.5, abs=1e-5)
    assert terms["bce"].item() == pytest.approx(0.6931472, rel=1e-6)


def test_four_regions_that_are_not_nested_by_hand() -> None:
    # Three voxels, RC, NETC and background, at logits 0: WT and TC are true in the second, RC in the first, ET nowhere.
    labels = torch.tensor([4, 2, 0], dtype=torch.uint8).view(1, 3, 1, 1)
    logits = torch.zeros(1, 4, 3, 1, 1)
    loss = RegionLoss(BinaryCrossEntropy(), "process", 1e-5, GLI2024)
    terms = loss(logits, labels)
    # WT, TC, RC: 1 - 2·½ / (3/2 + 1) = 3/5 each; ET: practically 1.
    assert terms["dice"].item() == pytest.approx(3 * 0.6 + 1, abs=3e-5)
    assert terms["bce"].item() == pytest.approx(4 * 0.6931472, rel=1e-6)
    logits[0, 3, 0] = 40.0
    logits[0, 3, 1:] = -40.0  # RC exactly
    terms = loss(logits, labels)
    assert terms["dice"].item() == pytest.approx(2 * 0.6 + 1, abs=3e-5)
    assert terms["bce"].item() == pytest.approx(3 * 0.6931472, rel=1e-6)
    with pytest.raises(ValueError, match="do not fit"):
        loss(logits[:, :3], labels)


def test_perfect_prediction_of_empty_regions_costs_nothing() -> None:
    terms = bce_dice()(torch.full((1, 3, *SHAPE), -40.0), torch.zeros(1, *SHAPE, dtype=torch.uint8))
    assert terms["dice"].item() == pytest.approx(0, abs=1e-6)
    assert terms["bce"].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("voxelwise", [BinaryCrossEntropy(), Focal(2.0)])
def test_extreme_logits_stay_finite(voxelwise: BinaryCrossEntropy | Focal) -> None:
    _, labels = random_case()
    logits = torch.full((2, 3, *SHAPE), 1e4, requires_grad=True)
    total = sum(RegionLoss(voxelwise, "process", 1e-5, BRATS2021)(logits, labels).values())
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(logits.grad).all()


def test_float32_under_autocast() -> None:
    logits, labels = random_case()
    half = logits.bfloat16()
    expected = bce_dice()(half.float(), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = bce_dice()(half, labels)
    for name, value in terms.items():
        assert value.dtype is torch.float32
        assert value.item() == expected[name].item()


def test_shapes_that_do_not_fit_are_refused() -> None:
    logits, labels = random_case()
    with pytest.raises(ValueError, match="do not fit"):
        bce_dice()(logits, labels.transpose(1, 3))


def test_bad_arguments_are_echoed() -> None:
    with pytest.raises(ValueError, match="'node'"):
        RegionLoss(BinaryCrossEntropy(), "node", 1e-5, BRATS2021)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="-1"):
        Focal(-1.0)
    with pytest.raises(ValueError, match="epsilon"):
        RegionLoss(BinaryCrossEntropy(), "process", 0.0, BRATS2021)
