"""Formatting of the progress of a run."""

from __future__ import annotations

import errno
import time

import pytest
import rich.progress

from brats_ablate.training.progress import (
    BarProgress,
    EstimatedProgress,
    GuardedProgress,
    Progress,
    format_epoch,
    time_breakdown,
)


def test_an_epoch_as_a_line() -> None:
    row = {"epoch": 3, "loss": 0.5, "dice": 0.75, "dice/WT": 0.9, "dice/TC": 0.75, "dice/ET": 0.6}
    assert format_epoch(row, 20) == "epoch 3/20  loss 0.5000  Dice 0.7500 (WT 0.900 TC 0.750 ET 0.600)"
    other = {"epoch": 3, "dice": 0.8, "dice/GTV": 0.8}
    assert format_epoch(other, 20) == "epoch 3/20  Dice 0.8000 (GTV 0.800)"
    assert format_epoch({"epoch": 3, "loss": 0.5}, 20) == "epoch 3/20  loss 0.5000"


def test_the_shares_of_a_runs_time_add_up_over_its_epochs() -> None:
    first = {"epoch": 1, "seconds/data": 1.0, "seconds/forward": 2.0, "seconds/backward": 3.0, "seconds": 9.0}
    second = {"epoch": 2, "seconds/forward": 1.0, "seconds/optimizer": 1.0, "seconds/validation": 2.0}
    expected = "data 10%, forward 30%, backward 30%, optimizer 10%, validation 20% of the time"
    assert time_breakdown([first, second]) == expected
    assert time_breakdown([{"epoch": 0, "dice": 0.1}]) == "no time recorded"


def test_a_long_run_on_a_cpu_has_one_estimate_after_its_first_steps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for total, expected in (
        (100_000, ["run: about 5d18h for 99,996 steps of 5 s on this CPU, and the validation; x"]),
        (400, []),
    ):
        progress = EstimatedProgress(Progress("run"), "; x")
        progress.start(0, total)
        for step in range(1, 30):
            now[0] += 100.0 if step in (1, 4) else 5.0  # each compiles something
            progress.step(step, epoch=1)
        assert capsys.readouterr().out.splitlines() == expected


def test_a_report_that_cannot_be_written_does_not_end_the_training() -> None:
    class OnClosedTerminal(Progress):
        def _fail(self, *_: object) -> None:
            raise OSError(errno.EIO, "Input/output error")

        start = step = epoch = close = _fail

    progress = GuardedProgress(OnClosedTerminal("run"))
    progress.start(0, 4)
    progress.step(1, 1)
    progress.epoch({"epoch": 1}, 1)
    progress.close()


def test_a_bar_that_could_not_be_drawn_is_moved_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: rich.progress.Progress) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(rich.progress.Progress, "start", fail)
    progress = GuardedProgress(BarProgress("run"))
    progress.start(0, 4)
    progress.step(1, 1)
    progress.epoch({"epoch": 1, "dice": 0.5}, 1)
    progress.close()
