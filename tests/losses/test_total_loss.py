"""The total loss is the sum of its named terms, and gradients of all of them reach their inputs."""

from __future__ import annotations

import torch
from schemes import BRATS2021

from brats_ablate.losses.deep_supervision import DeepSupervision, SingleHead
from brats_ablate.losses.region_loss import RegionLoss
from brats_ablate.losses.total_loss import TotalLoss
from brats_ablate.losses.vae import NoAuxiliary, VAELoss
from brats_ablate.losses.voxelwise import BinaryCrossEntropy, Focal
from brats_ablate.models.base import SegmentationOutput


def test_total_is_the_sum_of_all_terms_and_reaches_every_input() -> None:
    logits = [torch.randn(2, 3, 4, 8, 12, requires_grad=True), torch.randn(2, 3, 2, 4, 6, requires_grad=True)]
    images = torch.randn(2, 4, 4, 8, 12)
    labels = torch.randint(0, 4, (2, 4, 8, 12), dtype=torch.uint8)
    aux = {
        "vae_reconstruction": torch.randn(2, 4, 4, 8, 12, requires_grad=True),
        "vae_mean": torch.randn(2, 8, requires_grad=True),
        "vae_log_var": torch.randn(2, 8, requires_grad=True),
    }
    loss_of = TotalLoss(
        RegionLoss(Focal(2.0), "process", 1e-5, BRATS2021), DeepSupervision([1.0, 0.5]), VAELoss(0.1, 0.1)
    )
    total, terms = loss_of(SegmentationOutput(logits, aux), labels, images)
    assert set(terms) == {"focal", "dice", "vae_reconstruction", "vae_kl"}
    torch.testing.assert_close(total, sum(terms.values()))
    total.backward()
    for leaf in (*logits, *aux.values()):
        assert leaf.grad.abs().sum() > 0


def test_the_baseline_s_total_loss_is_the_region_loss() -> None:
    loss = RegionLoss(BinaryCrossEntropy(), "process", 1e-5, BRATS2021)
    logits = torch.randn(1, 3, 5, 6, 7)
    labels = torch.randint(0, 4, (1, 5, 6, 7), dtype=torch.uint8)
    output = SegmentationOutput([logits], {})
    total, _ = TotalLoss(loss, SingleHead(), NoAuxiliary())(output, labels, torch.randn(1, 4, 5, 6, 7))
    torch.testing.assert_close(total, sum(loss(logits, labels).values()))
