"""Deep supervision against equation 1 written out, MONAI's DeepSupervisionLoss, and torch's interpolation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.losses import DeepSupervisionLoss, DiceLoss
from omegaconf import DictConfig
from schemes import BRATS2021

from brats_ablate.losses.deep_supervision import (
    DeepSupervision,
    DeepSupervisionAsReleased,
    SingleHead,
    nearest_labels,
)
from brats_ablate.losses.region_loss import RegionLoss
from brats_ablate.losses.voxelwise import BinaryCrossEntropy

LOSS = RegionLoss(BinaryCrossEntropy(), "process", 1e-5, BRATS2021)
WEIGHTS = [1.0, 0.5, 0.25]


def heads_and_labels() -> tuple[list[torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    shapes = [(8, 12, 16), (4, 6, 8), (2, 3, 4)]
    logits = [torch.randn(2, 3, *s, generator=generator) for s in shapes]
    return logits, torch.randint(0, 4, (2, *shapes[0]), generator=generator, dtype=torch.uint8)


def interpolated(labels: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    return F.interpolate(labels[:, None].float(), size=shape, mode="nearest")[:, 0].to(torch.uint8)


def test_none_is_the_region_loss_of_the_finest_head() -> None:
    logits, labels = heads_and_labels()
    assert SingleHead().n_heads == 1
    assert SingleHead()(LOSS, logits[:1], labels) == LOSS(logits[0], labels)


@pytest.mark.parametrize("shape", [(8, 12, 16), (4, 6, 8), (2, 3, 4), (4, 12, 4)])
def test_nearest_labels_are_torchs(shape: tuple[int, int, int]) -> None:
    _, labels = heads_and_labels()
    assert torch.equal(nearest_labels(labels, shape), interpolated(labels, shape))


def test_equation_one_by_hand() -> None:
    logits, labels = heads_and_labels()
    supervision = DeepSupervision(WEIGHTS)
    assert supervision.n_heads == 3
    terms = supervision(LOSS, logits, labels)
    for name in ("bce", "dice"):
        parts = [LOSS(p, interpolated(labels, p.shape[2:]))[name] for p in logits]
        torch.testing.assert_close(terms[name], parts[0] + parts[1] / 2 + parts[2] / 4, rtol=1e-6, atol=0)


def test_dice_equals_monais_deep_supervision_loss() -> None:
    logits, labels = heads_and_labels()
    # MONAI downsamples by "nearest-exact", which picks other voxels than "nearest": constant blocks.
    labels = labels[:, ::4, ::4, ::4].repeat_interleave(4, 1).repeat_interleave(4, 2).repeat_interleave(4, 3)
    dice = DiceLoss(sigmoid=True, batch=True, reduction="sum")
    oracle = DeepSupervisionLoss(dice, weights=WEIGHTS)(logits, BRATS2021.to_regions(labels).float())
    terms = DeepSupervision(WEIGHTS)(LOSS, logits, labels)
    torch.testing.assert_close(terms["dice"], oracle, rtol=1e-6, atol=0)


def repeated(coarse: int, fine: int) -> torch.Tensor:
    """The matrix (fine, coarse) that repeats each entry."""
    return torch.eye(coarse).repeat_interleave(fine // coarse, 0)


def interpolating(coarse: int, fine: int) -> torch.Tensor:
    """The matrix (fine, coarse) of linear interpolation whose end points are those of the coarse axis."""
    at = np.linspace(0, coarse - 1, fine)
    columns = [np.interp(at, np.arange(coarse), one) for one in np.eye(coarse)]
    return torch.tensor(np.stack(columns, axis=1), dtype=torch.float32)


@pytest.mark.parametrize(("upsampling", "matrix"), [("nearest", repeated), ("trilinear", interpolating)])
def test_as_released_upsamples_the_heads_and_divides_by_the_weights(
    upsampling: Literal["nearest", "trilinear"], matrix: Callable[[int, int], torch.Tensor]
) -> None:
    """Values, and gradients of the heads, against a matrix product along each axis."""
    logits, labels = heads_and_labels()
    for head in logits:
        head.requires_grad_()
    full = [
        torch.einsum("xi,yj,zk,bcijk->bcxyz", *(map(matrix, head.shape[2:], labels.shape[1:])), head) for head in logits
    ]
    terms = DeepSupervisionAsReleased(WEIGHTS, upsampling)(LOSS, logits, labels)
    for name in ("bce", "dice"):
        parts = [LOSS(p, labels)[name] for p in full]
        expected = (parts[0] + parts[1] / 2 + parts[2] / 4) / 1.75
        torch.testing.assert_close(terms[name], expected, rtol=1e-6, atol=0)
        gradients = (torch.autograd.grad(loss, logits, retain_graph=True) for loss in (terms[name], expected))
        for gradient, reference in zip(*gradients, strict=True):
            torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-7)


def test_the_configuration_chooses_the_released_interpolation(composition: Callable[..., DictConfig]) -> None:
    assert composition("supervision=deep_as_released").supervision.upsampling == "trilinear"


def test_single_weight_is_no_supervision() -> None:
    logits, labels = heads_and_labels()
    plain = SingleHead()(LOSS, logits[:1], labels)
    assert DeepSupervision([1.0])(LOSS, logits[:1], labels) == plain
    assert DeepSupervisionAsReleased([1.0])(LOSS, logits[:1], labels) == plain
    assert DeepSupervisionAsReleased([1.0], "trilinear")(LOSS, logits[:1], labels) == plain


@pytest.mark.parametrize("supervision", [SingleHead(), DeepSupervision([1.0, 0.5])])
def test_wrong_number_of_heads_is_refused(supervision: SingleHead | DeepSupervision) -> None:
    logits, labels = heads_and_labels()
    with pytest.raises(ValueError, match="3 heads"):
        supervision(LOSS, logits, labels)


def test_grid_that_does_not_divide_is_refused() -> None:
    _, labels = heads_and_labels()
    with pytest.raises(ValueError, match="cannot be downsampled"):
        nearest_labels(labels, (3, 6, 8))


@pytest.mark.parametrize("weights", [[], [1.0, 0.0]])
def test_bad_weights_are_echoed(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights must be positive"):
        DeepSupervision(weights)
