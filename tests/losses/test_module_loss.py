"""Losses of torch and MONAI in the place of the region loss."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from schemes import BRATS2021

from brats_ablate.config.check import check
from brats_ablate.config.data_options import scheme_named
from brats_ablate.jobs.build import build_loss

Composition = Callable[..., DictConfig]


def test_a_torch_loss_sees_float_targets_per_region(composition: Composition) -> None:
    cfg = composition()
    cfg.loss = OmegaConf.create({"_target_": "torch.nn.BCEWithLogitsLoss"})
    check(cfg)
    logits, labels = torch.randn(2, 3, 4, 5, 6), torch.randint(0, 4, (2, 4, 5, 6), dtype=torch.uint8)
    terms = build_loss(cfg).region_loss(logits, labels)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, BRATS2021.to_regions(labels).float())
    assert list(terms) == ["BCEWithLogitsLoss"]
    assert torch.equal(terms["BCEWithLogitsLoss"], expected)


def test_a_monai_loss_is_supervised_deeply(composition: Composition) -> None:
    cfg = composition("supervision=deep")
    cfg.loss = OmegaConf.create({"_target_": "monai.losses.DiceFocalLoss", "sigmoid": True, "batch": True})
    check(cfg)
    loss = build_loss(cfg)
    logits = [torch.randn(1, 3, *(8 // 2**i,) * 3, requires_grad=True) for i in range(3)]
    labels = torch.randint(0, 4, (1, 8, 8, 8), dtype=torch.uint8)
    terms = loss.supervision(loss.region_loss, logits, labels)
    terms["DiceFocalLoss"].backward()
    assert all(head.grad is not None and head.grad.abs().sum() > 0 for head in logits)


@pytest.mark.parametrize(("labels", "regions"), [("brats2024_gli", 4), ("brats_men_rt", 1)])
def test_losses_get_the_regions_of_the_configured_labels(composition: Composition, labels: str, regions: int) -> None:
    for target in ("torch.nn.BCEWithLogitsLoss", None):
        cfg = composition(f"labels={labels}", "loss=bce_dice" if target is None else "loss=focal_dice")
        if target is not None:
            cfg.loss = OmegaConf.create({"_target_": target})
        check(cfg)
        scheme = scheme_named(labels)
        encoded = torch.randint(0, len(scheme.tissues) + 1, (2, 4, 5, 6), dtype=torch.uint8)
        logits = torch.randn(2, regions, 4, 5, 6)
        terms = build_loss(cfg).region_loss(logits, encoded)
        bce = torch.nn.functional.binary_cross_entropy_with_logits(logits, scheme.to_regions(encoded).float())
        expected = bce if target is not None else regions * bce  # ours is a sum over the regions
        torch.testing.assert_close(terms["bce" if target is None else "BCEWithLogitsLoss"], expected)
