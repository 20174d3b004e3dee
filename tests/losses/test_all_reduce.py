"""Global Dice in two real processes under DistributedDataParallel against one with the doubled batch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.losses.all_reduce import all_reduce_sum
from brats_ablate.losses.deep_supervision import DeepSupervision
from brats_ablate.losses.region_loss import RegionLoss
from brats_ablate.losses.total_loss import TotalLoss
from brats_ablate.losses.vae import NoAuxiliary
from brats_ablate.losses.voxelwise import BinaryCrossEntropy
from brats_ablate.models.base import SegmentationOutput

STEPS = 3


class TwoHeads(nn.Module):
    """The least network with two heads: a convolution each."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv3d(4, 3, 3, padding=1)
        self.coarse = nn.Conv3d(4, 3, 2, stride=2)

    def forward(self, x: torch.Tensor) -> SegmentationOutput:
        return SegmentationOutput([self.fine(x), self.coarse(x)], {})


def batch_of(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two samples whose tumors differ much in size: the mean of their Dice losses is not the global one."""
    generator = torch.Generator().manual_seed(step)
    labels = torch.zeros(2, 6, 8, 10, dtype=torch.uint8)
    labels[0, :1, :2] = 3
    labels[1, :, :, 2:] = torch.randint(1, 4, (6, 8, 8), generator=generator, dtype=torch.uint8)
    return torch.randn(2, 4, 6, 8, 10, generator=generator), labels


def train(dice_over: str, samples: slice) -> tuple[list[float], dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    network: nn.Module = TwoHeads()
    if dist.is_initialized():
        network = DistributedDataParallel(network)
    region_loss = RegionLoss(BinaryCrossEntropy(), dice_over, 1e-5, LabelScheme.named_before("brats2021"))
    loss_of = TotalLoss(region_loss, DeepSupervision([1.0, 0.5]), NoAuxiliary())
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    dice = []
    for step in range(STEPS):
        images, labels = (t[samples] for t in batch_of(step))
        total, terms = loss_of(network(images), labels, images)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        dice.append(terms["dice"].item())
    return dice, {k.removeprefix("module."): v for k, v in network.state_dict().items()}


def rank_main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=2)
    results = {over: train(over, slice(rank, rank + 1)) for over in ("global", "process")}
    torch.save(results, folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_without_a_process_group_it_is_the_identity() -> None:
    local = torch.ones(3)
    assert all_reduce_sum(local) is local


@pytest.mark.slow
def test_two_ranks_equal_one_with_the_doubled_batch(tmp_path: Path) -> None:
    ranks = [subprocess.Popen([sys.executable, __file__, str(rank), str(tmp_path)]) for rank in range(2)]
    assert [rank.wait(timeout=300) for rank in ranks] == [0, 0]
    results = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    dice, weights = train("global", slice(0, 2))
    for result in results:
        torch.testing.assert_close(torch.tensor(result["global"][0]), torch.tensor(dice), rtol=1e-6, atol=0)
        for name, value in weights.items():
            torch.testing.assert_close(result["global"][1][name], value, rtol=0, atol=1e-6)
    # The per-process Dice is a different loss, which this case distinguishes.
    apart = max((results[0]["process"][1][name] - value).abs().max().item() for name, value in weights.items())
    assert apart > 1e-3


if __name__ == "__main__":
    rank_main(int(sys.argv[1]), Path(sys.argv[2]))
