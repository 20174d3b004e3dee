"""Small patches one at a time on one core, as a first try on a laptop has them: a training step, and a volume by windows.

The networks are as thin as the demo's, in float32. What was made for such patches is also compared with doing without.
"""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from brats_ablate.inference import sliding_window
from brats_ablate.inference.sliding_window import SlidingWindow, TakesBatches
from brats_ablate.models import kernels
from brats_ablate.models.base import to_device
from measuring import Comparison, Options, Row, Table, cpu_seconds, interleave, one_core
from networks import MONAI, NNUNET, OURS, build, optimizer_of, region_loss

PLAIN, SINGLE = "ours with torch's convolutions", "ours, one window at a time"
INFERER = "MONAI's inferer, four windows at a time"
WIDTH, LEVELS = 0.25, 4


def measure(options: Options) -> list[Table]:
    """Measure both: two tables."""
    one_core()
    edge = 32 if options.quick else 48
    steps = {name: cpu_seconds(_step(name, edge)) for name in (NNUNET, MONAI, PLAIN, OURS)}
    volume = torch.randn(1, 4, 2 * edge, 2 * edge, 2 * edge)
    network = _network(OURS, 32).eval()
    windows = {
        INFERER: cpu_seconds(lambda: _by_monai(network, volume)),
        SINGLE: cpu_seconds(lambda: _one_by_one(network, volume)),
        OURS: cpu_seconds(lambda: _by_windows(network, volume)),
    }
    if (difference := (_by_windows(network, volume) - _by_monai(network, volume)).abs().max()) > 1e-3:
        raise AssertionError(f"the windows disagree: {difference}")
    rounds = 1 if options.quick else max(options.rounds, 5)
    of_steps, of_windows = interleave(steps, rounds), interleave(windows, rounds)
    return [
        Table(
            f"Training step of a thin U-Net, {edge}³, batch 1, fp32, one core",
            "s",
            [Row(name, values) for name, values in of_steps.items()],
            [Comparison(peer, OURS, peer) for peer in (NNUNET, MONAI, PLAIN)],
        ),
        Table(
            f"A volume of {2 * edge}³ by 32³ windows, the same thin U-Net, fp32, one core",
            "s",
            [Row(name, values) for name, values in of_windows.items()],
            [Comparison(peer, OURS, peer) for peer in (INFERER, SINGLE)],
        ),
    ]


def _network(name: str, edge: int) -> nn.Module:
    model = build(OURS if name == PLAIN else name, edge, WIDTH, LEVELS)
    if name == OURS:
        kernels.enable_pairing(model)
    return to_device(model, "cpu")


def _step(name: str, edge: int) -> Callable[[], None]:
    model = _network(name, edge)
    optimizer, loss_of = optimizer_of(OURS if name == PLAIN else name, model.parameters()), region_loss()
    images = torch.randn(1, 4, edge, edge, edge).to(memory_format=torch.channels_last_3d)
    labels = torch.randint(0, 4, (1, edge, edge, edge)).to(torch.uint8)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_of(model(images), labels).backward()
        optimizer.step()

    return step


@torch.no_grad()
def _by_windows(network: nn.Module, volume: Tensor) -> Tensor:
    return SlidingWindow((32, 32, 32), 0.5, 0.125)(TakesBatches(network), volume)


def _one_by_one(network: nn.Module, volume: Tensor) -> Tensor:
    with patch.object(sliding_window, "VOXELS_AT_ONCE", 1):
        return _by_windows(network, volume)


@torch.no_grad()
def _by_monai(network: nn.Module, volume: Tensor) -> Tensor:
    blended = sliding_window_inference(volume, (32, 32, 32), 4, network, 0.5, "gaussian", 0.125)
    assert isinstance(blended, Tensor)
    return blended
