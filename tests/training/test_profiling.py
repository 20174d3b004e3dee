"""Profiles of a few steps: the arithmetic by hand-computed cases, the files of a real run, and that it changes nothing."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from omegaconf import DictConfig
from scaffolding import assert_same_training
from torch._C._autograd import DeviceType

from brats_ablate.jobs import train
from brats_ablate.launch.sweep import run_directory
from brats_ablate.training import profiling
from brats_ablate.training.profiling import Operation, ProfiledProgress, busy_share, longest
from brats_ablate.training.progress import Progress

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("intervals", "share"),
    [
        ([], 0.0),
        ([(0, 10)], 1.0),
        ([(6, 8), (1, 2)], 0.3),
        ([(1, 5), (2, 3), (4, 7)], 0.6),  # contained, overlapping
        ([(1, 2), (2, 4)], 0.3),  # adjacent
        ([(1, 3), (1, 3)], 0.2),  # two streams at once
    ],
)
def test_the_share_of_the_time_in_which_any_kernel_runs(intervals: list[tuple[float, float]], share: float) -> None:
    assert busy_share(intervals, 10) == pytest.approx(share)


def test_operations_add_up_by_name_and_are_divided_by_the_steps() -> None:
    calls = [Operation("conv", 0, 9000, 6000.0), Operation("relu", 0, 1, 2000.0), Operation("conv", 0, 1, 4000.0)]
    lines = [line.split() for line in longest(calls, steps=2).splitlines()]
    assert lines[0] == ["ms", "share", "calls", "name"]
    assert lines[1:] == [["5.000", "83.3%", "1", "conv"], ["1.000", "16.7%", "0.5", "relu"]]
    many = [Operation(f"{i:02}", 0, 1, float(i)) for i in range(40)]
    assert [line.split()[-1] for line in longest(many, 1).splitlines()[1:]] == [f"{i:02}" for i in range(39, 9, -1)]


def test_on_a_gpu_kernels_count_and_neither_copies_nor_named_regions() -> None:
    def event(name: str, device: DeviceType, *, annotation: bool = False) -> object:
        span = SimpleNamespace(start=1.0, end=3.0)
        return SimpleNamespace(
            name=name, device_type=device, is_user_annotation=annotation, time_range=span, self_cpu_time_total=0.5
        )

    events = [
        event("gemm", DeviceType.CUDA),
        event("Memcpy HtoD", DeviceType.CUDA),
        event("Optimizer.step", DeviceType.CUDA, annotation=True),
        event("aten::mm", DeviceType.CPU),
    ]
    assert list(profiling.operations_of(events, on_gpu=True)) == [Operation("gemm", 1.0, 3.0, 2.0)]
    assert list(profiling.operations_of(events, on_gpu=False)) == [Operation("aten::mm", 1.0, 3.0, 0.5)]


def report_of(folder: Path, first: int, total: int, steps: int) -> None:
    """A run at step `first` of `total` that ends after `steps` more."""
    progress = ProfiledProgress(Progress("run"), folder, CPU)
    progress.start(first, total)
    for step in range(first, first + steps):
        torch.ones(3).cumsum(0)
        progress.step(step + 1, 1)
    progress.close()


@pytest.mark.parametrize(("total", "window"), [(50, "8 to 12"), (9, "8 to 9"), (4, "4 to 4")])
def test_a_resumed_or_short_run_profiles_what_it_has(tmp_path: Path, total: int, window: str) -> None:
    report_of(tmp_path, 2 if total > 4 else 1, total, min(total - 2, 12) if total > 4 else 3)
    table = (tmp_path / "kernels.txt").read_text()
    assert table.startswith(f"Steps {window} of run: ")
    (row,) = (line for line in table.splitlines() if "aten::cumsum" in line)
    assert row.split()[2] == "1"  # per step
    assert "GPU" not in table


@pytest.mark.parametrize("steps", [3, 5, 7])
def test_a_run_that_ends_early_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str], steps: int) -> None:
    report_of(tmp_path, 0, 50, steps)
    assert capsys.readouterr().out == "run: not profiled, because it ended before the end of steps 6 to 10\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_it_changes_nothing(composed: Callable[..., DictConfig], capsys: pytest.CaptureFixture[str]) -> None:
    plain, cfg = (
        composed(
            "+experiment=baseline", "trainer.epochs=1", f"paths.runs=${{paths.work}}/{name}", f"trainer.profile={name}"
        )
        for name in ("false", "true")
    )
    train.run(plain)
    train.run(cfg)
    run = run_directory(cfg)
    assert_same_training(run_directory(plain), run)
    assert str(run.path / "profile" / "trace.json.gz") in capsys.readouterr().out
    table = (run.path / "profile" / "kernels.txt").read_text()
    assert "convolution" in table
    assert "Steps 4 to 4 of" in table
    with gzip.open(run.path / "profile" / "trace.json.gz", "rt") as trace:
        assert json.load(trace)["traceEvents"]
