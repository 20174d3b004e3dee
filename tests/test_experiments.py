"""Every experiment: composes, differs from its baseline in the groups that it overrides only, trains, and predicts.

One step of each in one process and two under DistributedDataParallel in two, at the least patch that its depth allows.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from composition import composed as compose_overrides
from hardware import needs_bf16
from omegaconf import DictConfig, OmegaConf

from brats_ablate.config.check import GROUPS, check
from brats_ablate.config.locations import resource_dir
from brats_ablate.errors import ConfigError
from brats_ablate.jobs.build import build_loss, build_model, execute_on, input_channels, instantiate
from brats_ablate.jobs.build_inference import average_of, build_predictor
from brats_ablate.training.distributed import DistributedContext
from brats_ablate.training.precision import Precision

EXPERIMENTS = sorted(path.stem for path in (resource_dir("conf") / "experiment").glob("*.yaml"))
LARGE = {"as_released", "swin_unetr", "unet_plus_plus"} | {name for name in EXPERIMENTS if "deeper" in name}
LARGE_ARE_SLOW = [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in EXPERIMENTS]
OF_THE_PAPER = (
    *("baseline", "unetr", "segresnet_vae", "attention", "ds", "residual", "dropblock", "focal"),
    *("ds_deeper", "ds_channels", "ds_onehot", "ds_deeper_channels_onehot"),
)
CPU = torch.device("cpu")


def composed(experiment: str, *overrides: str) -> DictConfig:
    return compose_overrides(f"+experiment={experiment}", *overrides)


def small(experiment: str, *overrides: str) -> DictConfig:
    """The experiment with a thin network, at the least patch: one voxel at the bottom, two along Z."""
    levels = len(composed(experiment).encoder.channels)
    edge = 2 ** (levels - 1)
    return composed(experiment, "encoder.width=0.0625", f"patches.shape=[{edge},{edge},{2 * edge}]", *overrides)


def step(cfg: DictConfig, ranks: DistributedContext, steps: int, precision: str = "fp32") -> None:
    """Train `steps` steps on random data, with the model laid out as for a run; check loss and gradients."""
    model = build_model(cfg)
    resolved = Precision.resolve(precision, CPU)
    resolved.force_fp32_on_flat_inputs(model)
    network = ranks.wrap(execute_on(model, CPU), CPU)
    loss_of = build_loss(cfg)
    optimizer = instantiate(cfg.optimizer, model.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(ranks.rank)
    images = torch.randn(1, input_channels(cfg), *cfg.patches.shape, generator=generator)
    images = images.contiguous(memory_format=torch.channels_last_3d)
    labels = torch.randint(0, 4, (1, *cfg.patches.shape), generator=generator, dtype=torch.uint8)
    model.train()
    for number in range(steps):
        model.set_step(number)
        optimizer.zero_grad()
        with resolved.autocast():
            output = network(images)
            total, terms = loss_of(output, labels, images)
        assert torch.isfinite(total), terms
        total.backward()
        without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert not without, f"no gradient: {without}"
        infinite = [n for n, p in model.named_parameters() if p.requires_grad and not torch.isfinite(p.grad).all()]
        assert not infinite, f"gradient not finite: {infinite}"
        # Fused Adam on a CPU pairs a weight with its gradient by their positions in memory, without a check.
        apart = [
            n for n, p in model.named_parameters() if p.grad is not None and memory_order(p.grad) != memory_order(p)
        ]
        assert not apart, f"gradient with other strides: {apart}"
        optimizer.step()


def memory_order(tensor: torch.Tensor) -> list[int]:
    """Return the strides of the axes longer than one; those of the others have no meaning."""
    return [stride for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1]


def test_all_columns_of_the_paper_exist() -> None:
    assert set(OF_THE_PAPER) <= set(EXPERIMENTS)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_composes_and_passes_the_check(experiment: str) -> None:
    cfg = composed(experiment)
    check(cfg)
    assert cfg.name == experiment
    assert cfg.about.question
    assert cfg.about.paper


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_differs_from_its_baseline_in_the_overridden_groups_only(experiment: str) -> None:
    cfg = composed(experiment)
    if experiment == "baseline":
        # All others are compared with this one, so it must be the default configuration.
        other = compose_overrides()
        expected: set[str] = set()
        assert cfg.about.baseline is None
        assert not _overridden(experiment)
    else:
        other = composed(cfg.about.baseline)
        own, others = _overridden(experiment), _overridden(cfg.about.baseline)
        expected = {group for group in own | others if own.get(group) != others.get(group)}
        assert expected
    plain, plain_other = (_without_coordinates(c) for c in (cfg, other))
    assert set(plain) == set(plain_other)
    assert {k for k in plain if plain[k] != plain_other[k]} == expected
    assert expected <= set(GROUPS)


def _overridden(experiment: str) -> dict[str, str]:
    """Return the options that an experiment file chooses, by group; it sets nothing else."""
    tree = OmegaConf.to_container(OmegaConf.load(resource_dir("conf") / "experiment" / f"{experiment}.yaml"))
    assert set(tree) <= {"defaults", "name", "about"}
    return {key.removeprefix("override /"): option for each in tree.get("defaults", []) for key, option in each.items()}


def _without_coordinates(cfg: DictConfig) -> dict[str, Any]:
    tree = OmegaConf.to_container(cfg)
    return {str(key): value for key, value in tree.items() if key not in ("name", "about", "lr")}


@pytest.mark.parametrize("experiment", LARGE_ARE_SLOW)
def test_trains_one_step(experiment: str) -> None:
    cfg = small(experiment)
    check(cfg)
    step(cfg, DistributedContext(), steps=1)


@pytest.mark.slow
@needs_bf16
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_trains_one_step_in_mixed_precision(experiment: str) -> None:
    step(small(experiment), DistributedContext(), steps=1, precision="bf16")


@pytest.mark.slow
@pytest.mark.parametrize("inference", ["sliding_window", "whole_volume"])
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_predicts_a_volume_of_odd_shape_or_is_refused(experiment: str, inference: str) -> None:
    """One axis smaller than the patch, two larger, none divisible by anything."""
    cfg = small(experiment, f"inference={inference}")
    if (experiment, inference) == ("unetr", "whole_volume"):
        with pytest.raises(ConfigError, match=r"^UNETR takes patches of one shape only; set inference=sliding_window$"):
            check(cfg)
        return
    check(cfg)
    model = build_model(cfg).eval()
    x, y, z = cfg.patches.shape
    volume = torch.randn(1, input_channels(cfg), x - 3, y + 3, z + 1)
    average = average_of(cfg.inference)
    predict = build_predictor(cfg, model, Precision.resolve("fp32", CPU), compiled=False)
    with torch.no_grad():
        probabilities = average.to_probabilities(predict(volume))
    assert probabilities.shape == (1, 3, *volume.shape[2:])
    assert 0 <= probabilities.min() < probabilities.max() <= 1


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_patch_of_odd_shape_is_refused_in_one_sentence(experiment: str) -> None:
    with pytest.raises(ConfigError, match=r"^patches\.shape=\[128, 129, 128\] is not divisible by \d+, as [^\n]+$"):
        check(composed(experiment, "patches.shape=[128,129,128]"))


def train_all_as_rank(rank: int, results: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{results / 'rendezvous'}", rank=rank, world_size=2)
    failures = {}
    for experiment in EXPERIMENTS:
        try:
            # A parameter that DDP found unused is only told at the second step.
            step(small(experiment), DistributedContext(rank=rank, world_size=2), steps=2)
        except Exception as error:
            failures[experiment] = f"{type(error).__name__}: {error}"
    (results / f"{rank}.json").write_text(json.dumps(failures))
    dist.destroy_process_group()


@pytest.mark.slow(minutes=2)
def test_trains_in_two_ranks(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}  # with what this file imports of the tests
    command = [sys.executable, __file__]
    ranks = [subprocess.Popen([*command, str(rank), str(tmp_path)], env=environment) for rank in range(2)]
    assert [rank.wait(timeout=3600) for rank in ranks] == [0, 0]
    failures = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert failures == [{}, {}]


if __name__ == "__main__":
    train_all_as_rank(int(sys.argv[1]), Path(sys.argv[2]))
