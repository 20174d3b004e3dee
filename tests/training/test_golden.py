"""Golden trace: 20 training steps as they run, compared with a plain and slow reference of the same steps.

The reference is the same network with torch's own instance norm, without fusions, with contiguous tensors and a plain
loop over Adam's parameters. In float64 it is the exact trace. Adam amplifies rounding (a gradient near zero that changes its
sign moves its weight by twice the learning rate), so the tolerance is measured: how far plain float32 runs deviate from
the exact trace if their initial weights differ by a rounding error. The fast steps may deviate three times the worst of them.
"""

from __future__ import annotations

import copy

import pytest
import torch
from hardware import needs_bf16
from schemes import BRATS2021
from small_unet import small_unet
from torch import Tensor, nn

from brats_ablate.losses.deep_supervision import DeepSupervision
from brats_ablate.losses.region_loss import RegionLoss
from brats_ablate.losses.total_loss import TotalLoss
from brats_ablate.losses.vae import NoAuxiliary
from brats_ablate.losses.voxelwise import BinaryCrossEntropy
from brats_ablate.models import kernels
from brats_ablate.models.kernels import fused_norm_relu
from brats_ablate.models.norm import InstanceNorm
from brats_ablate.models.unet import UNet
from brats_ablate.training.optimizers import adam
from brats_ablate.training.precision import Precision

STEPS, LR, WEIGHT_DECAY = 20, 7e-4, 1e-4
SHAPE = (16, 24, 32)


@pytest.fixture(scope="module")
def network() -> UNet:
    return small_unet([8, 16, 32], SHAPE)


def golden_batch(step: int) -> tuple[Tensor, Tensor]:
    """Two noisy patches with a nested tumor whose modalities are brighter; (2, 4, …) and nested labels (2, …)."""
    generator = torch.Generator().manual_seed(step)
    x, y, z = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    radius = torch.sqrt(x**2 + y**2 + z**2)
    size = 0.4 + 0.4 * torch.rand(2, 1, 1, 1, generator=generator)
    labels = sum((radius < size * part).to(torch.uint8) for part in (1.0, 0.7, 0.4))
    assert labels.max() == BRATS2021.label("ET")
    images = torch.randn(2, 4, *SHAPE, generator=generator) + labels[:, None].float()
    return images, labels


def losses_of(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    precision: Precision,
    layout: torch.memory_format,
    kind: torch.dtype,
) -> Tensor:
    """(STEPS,) losses of training `model` in place, float64."""
    loss_of = TotalLoss(
        RegionLoss(BinaryCrossEntropy(), "process", 1e-5, BRATS2021), DeepSupervision([1.0, 0.5]), NoAuxiliary()
    )
    losses = []
    for step in range(STEPS):
        images, labels = golden_batch(step)
        images = images.to(kind).to(memory_format=layout)
        with precision.autocast():
            output = model(images)
            loss, _ = loss_of(output, labels, images)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach().double())
    return torch.stack(losses)


def reference_losses(network: UNet, kind: torch.dtype, precision: str = "fp32") -> Tensor:
    """The plain steps, in `kind`."""
    model = copy.deepcopy(network)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, InstanceNorm):
                setattr(module, name, nn.InstanceNorm3d(child.channels, child.eps, affine=True))
    model.to(kind)
    plain = torch.optim.Adam(model.parameters(), LR, weight_decay=WEIGHT_DECAY, foreach=False, fused=False)
    resolved = Precision(precision, torch.device("cpu"))
    return losses_of(model, plain, resolved, torch.contiguous_format, kind)


def fast_losses(network: UNet, precision: str) -> Tensor:
    """The steps of training: our norm, fusions, channels_last, fused Adam, autocast."""
    resolved = Precision(precision, torch.device("cpu"))
    model = copy.deepcopy(network)
    resolved.force_fp32_on_flat_inputs(model)
    kernels.enable(model)
    model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    optimizer = adam(model.parameters(), LR, WEIGHT_DECAY)
    return losses_of(model, optimizer, resolved, torch.channels_last_3d, torch.float32)


@pytest.fixture(scope="module")
def unavoidable(network: UNet, exact: Tensor) -> float:
    """The worst relative deviation of plain float32 runs whose initial weights differ by half a last digit."""
    deviations = []
    for seed in range(4):
        generator, model = torch.Generator().manual_seed(seed), copy.deepcopy(network)
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(1 + 2**-23 * (torch.rand(weight.shape, generator=generator) - 0.5))
        deviations.append(worst(reference_losses(model, torch.float32), exact))
    assert max(deviations) < 1e-3
    return max(deviations)


def worst(losses: Tensor, exact: Tensor) -> float:
    return float(((losses - exact).abs() / exact).max())


@pytest.fixture(scope="module")
def exact(network: UNet) -> Tensor:
    return reference_losses(network, torch.float64)


@pytest.mark.slow
def test_the_reference_learns(exact: Tensor) -> None:
    # Otherwise the traces below would agree regardless of the steps.
    assert exact[-3:].mean() < 0.9 * exact[:3].mean()


@pytest.mark.slow
def test_fp32_steps_deviate_no_more_than_plain_ones(network: UNet, exact: Tensor, unavoidable: float) -> None:
    assert worst(fast_losses(network, "fp32"), exact) < 3 * unavoidable


@needs_bf16
@pytest.mark.parametrize("smallest", [0, fused_norm_relu.SMALLEST])
def test_bf16_steps_deviate_no_more_than_plain_ones(
    network: UNet, exact: Tensor, unavoidable: float, smallest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bfloat16 keeps 8 bits, 2⁻⁸ = 0.4 % per rounding. Over 20 steps the loss may deviate by 2 %, and by no more than
    three times what torch's own norm and layout lose in bf16. Norm and activation are fused in every stage, or in none,
    as these are small."""
    monkeypatch.setattr(fused_norm_relu, "SMALLEST", smallest)
    deviation = worst(fast_losses(network, "bf16"), exact)
    assert deviation < 0.02
    assert deviation < 3 * max(unavoidable, worst(reference_losses(network, torch.float32, "bf16"), exact))


def test_the_fast_steps_fuse_a_decoder_stage(network: UNet) -> None:
    """So the traces above cover the fusion; the finest stage is large enough, the next is not."""
    model = copy.deepcopy(network)
    kernels.enable(model)
    upsampled: list[nn.Module] = []
    for stage in model.decoder:
        stage.upsample.register_forward_hook(lambda module, *_: upsampled.append(module))
    model(golden_batch(0)[0])
    assert upsampled == [model.decoder[1].upsample]


@pytest.mark.slow
def test_a_wrong_norm_would_be_noticed(network: UNet, exact: Tensor, unavoidable: float) -> None:
    spoiled = copy.deepcopy(network)
    for module in spoiled.modules():
        if isinstance(module, InstanceNorm):
            module.eps = 1e-2
    assert worst(fast_losses(spoiled, "fp32"), exact) > 10 * unavoidable
