"""Speed changed no result: 20 training steps as they run against the same steps computed slowly and plainly.

The reference is the same network with torch's own instance norm, all layers one by one, contiguous tensors and a plain
loop over Adam's parameters. In float64 it is the truth. Adam amplifies rounding (a gradient near zero that changes its
sign moves its weight by twice the learning rate), so the tolerance is measured: how far plain float32 runs deviate from
the truth whose initial weights differ by a rounding error. The fast steps may deviate three times the worst of them.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from brats_ablate.labels import NCR
from brats_ablate.losses.deep_supervision import DeepSupervision
from brats_ablate.losses.region_loss import RegionLoss
from brats_ablate.losses.total_loss import TotalLoss
from brats_ablate.losses.vae import NoAuxiliary
from brats_ablate.losses.voxelwise import BinaryCrossEntropy
from brats_ablate.models.attention_gate import NoGate
from brats_ablate.models.blocks import ConvBlock
from brats_ablate.models.dropblock import NoDrop
from brats_ablate.models.encoder import EncoderConfig
from brats_ablate.models.kernels import fused_norm_relu, fused_upsample_conv
from brats_ablate.models.norm import InstanceNorm
from brats_ablate.models.unet import UNet
from brats_ablate.training.optimizers import adam
from brats_ablate.training.precision import Precision

STEPS, LR, WEIGHT_DECAY = 20, 7e-4, 1e-4
SHAPE = (16, 24, 32)


@pytest.fixture(scope="module")
def network() -> UNet:
    torch.manual_seed(0)
    return UNet(
        in_channels=4,
        out_channels=3,
        heads=2,
        patch_shape=SHAPE,
        encoder=EncoderConfig([8, 16, 32]),
        encoder_block=ConvBlock,
        decoder_block=ConvBlock,
        gate=NoGate,
        drop=NoDrop,
        blocks_per_level=[1],
        checkpointing=False,
    )


def golden_batch(step: int) -> tuple[Tensor, Tensor]:
    """Two noisy patches with a nested tumour whose modalities are brighter; (2, 4, …) and (2, …) depths."""
    generator = torch.Generator().manual_seed(step)
    x, y, z = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    radius = torch.sqrt(x**2 + y**2 + z**2)
    size = 0.4 + 0.4 * torch.rand(2, 1, 1, 1, generator=generator)
    depth = sum((radius < size * part).to(torch.uint8) for part in (1.0, 0.7, 0.4))
    assert isinstance(depth, Tensor)
    assert depth.max() > NCR
    images = torch.randn(2, 4, *SHAPE, generator=generator) + depth[:, None].float()
    return images, depth


def losses_of(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    precision: Precision,
    layout: torch.memory_format,
    kind: torch.dtype,
) -> Tensor:
    """(STEPS,) losses of training `model` in place, float64."""
    objective = TotalLoss(RegionLoss(BinaryCrossEntropy(), "process", 1e-5), DeepSupervision([1.0, 0.5]), NoAuxiliary())
    found = []
    for step in range(STEPS):
        images, labels = golden_batch(step)
        images = images.to(kind).to(memory_format=layout)
        with precision.autocast():
            output = model(images)
            loss, _ = objective(output.logits, output.aux, labels, images)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        found.append(loss.detach().double())
    return torch.stack(found)


def reference_losses(network: UNet, kind: torch.dtype, precision: str = "fp32") -> Tensor:
    """The slow way, in `kind`."""
    model = copy.deepcopy(network)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, InstanceNorm):
                setattr(module, name, nn.InstanceNorm3d(child.channels, child.eps, affine=True))
    model.to(kind)
    plain = torch.optim.Adam(model.parameters(), LR, weight_decay=WEIGHT_DECAY, foreach=False, fused=False)
    resolved = Precision(precision, torch.device("cpu"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused_upsample_conv, "should_fuse", lambda *_: False)
        return losses_of(model, plain, resolved, torch.contiguous_format, kind)


def fast_losses(network: UNet, precision: str) -> Tensor:
    """As training runs it: our norm, channels_last, fused Adam, autocast."""
    resolved = Precision(precision, torch.device("cpu"))
    model = copy.deepcopy(network)
    resolved.guard(model)
    model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    optimizer = adam(model.parameters(), LR, WEIGHT_DECAY)
    return losses_of(model, optimizer, resolved, torch.channels_last_3d, torch.float32)


@pytest.fixture(scope="module")
def unavoidable(network: UNet, truth: Tensor) -> float:
    """The worst relative deviation of plain float32 runs whose initial weights differ by half a last digit."""
    found = []
    for seed in range(4):
        generator, model = torch.Generator().manual_seed(seed), copy.deepcopy(network)
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(1 + 2**-23 * (torch.rand(weight.shape, generator=generator) - 0.5))
        found.append(worst(reference_losses(model, torch.float32), truth))
    assert max(found) < 1e-3
    return max(found)


def worst(found: Tensor, truth: Tensor) -> float:
    return float(((found - truth).abs() / truth).max())


@pytest.fixture(scope="module")
def truth(network: UNet) -> Tensor:
    return reference_losses(network, torch.float64)


def test_the_reference_learns(truth: Tensor) -> None:
    # Otherwise the traces below would agree whatever the steps did.
    assert truth[-3:].mean() < 0.9 * truth[:3].mean()


def test_fp32_steps_are_as_near_the_truth_as_plain_ones(network: UNet, truth: Tensor, unavoidable: float) -> None:
    assert worst(fast_losses(network, "fp32"), truth) < 3 * unavoidable


@pytest.mark.parametrize("smallest", [0, fused_norm_relu.SMALLEST])
def test_bf16_steps_are_as_near_the_truth_as_plain_ones(
    network: UNet, truth: Tensor, unavoidable: float, smallest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bfloat16 keeps 8 bits: 2⁻⁸ = 0.4 % a rounding; over 20 steps the loss may be 2 % off, and no more than thrice
    what torch's own norm and layout lose in bf16. With norm and activation in one on every level, and on none, as these
    are small."""
    monkeypatch.setattr(fused_norm_relu, "SMALLEST", smallest)
    found = worst(fast_losses(network, "bf16"), truth)
    assert found < 0.02
    assert found < 3 * max(unavoidable, worst(reference_losses(network, torch.float32, "bf16"), truth))


def test_the_fast_steps_merge_a_decoder_level(network: UNet) -> None:
    """So the traces above compare it; the finest level is large enough, the next is not."""
    with pytest.MonkeyPatch.context() as patch:
        calls: list[int] = []
        real = fused_upsample_conv.upsample_and_convolve
        patch.setattr(fused_upsample_conv, "upsample_and_convolve", lambda *given: (calls.append(1), real(*given))[1])
        network(golden_batch(0)[0])
    assert len(calls) == 1


def test_a_wrong_norm_would_be_noticed(network: UNet, truth: Tensor, unavoidable: float) -> None:
    spoiled = copy.deepcopy(network)
    for module in spoiled.modules():
        if isinstance(module, InstanceNorm):
            module.eps = 1e-2
    assert worst(fast_losses(spoiled, "fp32"), truth) > 10 * unavoidable
