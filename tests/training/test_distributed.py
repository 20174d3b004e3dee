"""Settling DistributedDataParallel in three real processes, from which on the order of a sum changes its rounding."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from brats_ablate.errors import ConfigError
from brats_ablate.training.distributed import DistributedContext

RANKS = 3
CPU = torch.device("cpu")


class Network(nn.Module):
    """Layers that are registered in another order than they are used, a running state, and a layer without use."""

    def __init__(self, has_idle: bool = False) -> None:
        super().__init__()
        self.last, self.first = nn.Linear(700, 1), nn.Linear(1, 700)  # with a gradient of over 1 MB between them
        self.norm, self.middle = nn.BatchNorm1d(700), nn.Linear(700, 700)
        self.idle = nn.Linear(2, 2) if has_idle else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(torch.relu(self.middle(self.norm(self.first(x)))))
        return result


def backward(network: nn.Module, x: Tensor) -> None:
    network(x).square().mean().backward()


def gradients(network: nn.Module, wrapped: nn.Module, x: Tensor) -> list[Tensor]:
    network.zero_grad(set_to_none=True)
    backward(wrapped, x)
    return [p.grad.clone() for p in network.parameters() if p.grad is not None]


def check_settling(ranks: DistributedContext) -> dict[str, Any]:
    """Return what the first rank finds before and after settling, and in later steps."""
    torch.manual_seed(0)
    network = Network()
    before = copy.deepcopy(network.state_dict())
    batch = torch.randn(4, 1, generator=torch.Generator().manual_seed(ranks.rank))
    first: dict[str, list[Tensor]] = {}
    later: dict[str, list[Tensor]] = {}
    found: dict[str, Any] = {}
    for name in ("settled", "unsettled"):
        twin = copy.deepcopy(network)
        wrapped = ranks.wrap(twin, CPU)
        if name == "settled":
            ranks.settle(twin, partial(backward, wrapped, torch.zeros(4, 1)))
            found["gradients left"] = [key for key, p in twin.named_parameters() if p.grad is not None]
            after = twin.state_dict()
            found["state changed"] = [key for key in before if not torch.equal(after[key], before[key])]
        first[name] = gradients(twin, wrapped, batch)
        gradients(twin, wrapped, torch.ones(4, 1))
        later[name] = gradients(twin, wrapped, batch)
        found[name] = all(torch.equal(a, b) for a, b in zip(first[name], later[name], strict=True))
    found["statistics differ"] = _differs(ranks, twin.norm.running_mean)
    ranks.broadcast_buffers(twin)
    found["statistics differ after the epoch"] = _differs(ranks, twin.norm.running_mean)
    idle = Network(has_idle=True)
    wrapped = ranks.wrap(idle, CPU)
    try:
        ranks.settle(idle, partial(backward, wrapped, torch.zeros(4, 1)))
    except ConfigError as error:
        found["refused"] = str(error)
    return found


def _differs(ranks: DistributedContext, tensor: Tensor | None) -> bool:
    assert tensor is not None
    of_ranks = ranks.gather(tensor)
    return not all(torch.equal(of_ranks[0], other) for other in of_ranks)


@pytest.mark.slow
def test_settling_leaves_nothing_but_the_order_of_later_steps(tmp_path: Path) -> None:
    line = [sys.executable, __file__, str(tmp_path)]
    processes = [subprocess.Popen([*line, str(rank)]) for rank in range(RANKS)]
    assert [process.wait(120) for process in processes] == [0] * RANKS
    for rank in range(RANKS):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found["gradients left"] == []
        assert found["state changed"] == []
        assert found["settled"], "the first step sums in another order than later ones"
        assert found["statistics differ"], "these ranks cannot show that sharing them matters"
        assert not found["statistics differ after the epoch"]
        assert found["refused"] == (
            "the loss does not depend on idle.weight of the network (2 such parameters), which several ranks cannot "
            "train; remove it, set its requires_grad to False, or train with trainer.ranks=1"
        )
    assert not found["unsettled"], "this network cannot show that settling matters"


def test_a_single_process_has_nothing_to_settle() -> None:
    DistributedContext().settle(Network(has_idle=True), lambda: pytest.fail("called"))


FAILING = """
import atexit, time, torch
from brats_ablate.errors import RunFailed
from brats_ablate.training import distributed

dist = distributed.dist
dist.init_process_group = dist.new_group = lambda *_, **__: None
dist.get_rank, distributed.LEAVING_S = lambda: 1, 0.2
if HANGS:  # as NCCL does, also when the interpreter ends
    dist.destroy_process_group = lambda: time.sleep(60)
    atexit.register(time.sleep, 60)
else:
    dist.destroy_process_group = lambda: print("left")
    atexit.register(time.sleep, 1)
try:
    with distributed.distributed_context(torch.device("cuda", 1)):
        raise RunFailed("the reason")
except RunFailed as error:
    print(error, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("hangs", [True, False])
def test_a_rank_that_fails_ends_also_while_its_peers_wait_for_it(hangs: bool) -> None:
    program = FAILING.replace("HANGS", str(hangs))
    environment = os.environ | {"WORLD_SIZE": "2", "RANK": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.stdout == ("the reason\n" if hangs else "left\nthe reason\n"), done.stderr
    assert done.returncode == int(hangs)


def main(folder: Path, rank: int) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=RANKS)
    torch.set_num_threads(1)
    found = check_settling(DistributedContext(rank, RANKS, dist.group.WORLD))
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
