"""Progress reporting of a run: a bar with throughput and time left in a terminal, a line per epoch in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from statistics import median
from typing import ParamSpec

from brats_ablate.runtime.text import format_duration

P = ParamSpec("P")
SMALLER = (
    "; training continues. The shorter way: stop it with Ctrl-C and add trainer=cpu, a narrower network in 36 epochs"
)
"""The end of the sentence about the time of the paper's schedule on a CPU."""
_STEPS_TIMED, _MOST_SECONDS_TIMED = 10, 30.0
_LONG_SECONDS = 3600.0


class Progress:
    """Reports nothing: for ranks other than the first, and `trainer.progress=none`. Base of the other reports."""

    def __init__(self, label: str) -> None:
        self.label = label

    def start(self, first_step: int, total_steps: int) -> None:
        """Begin a run of `total_steps`, `first_step` of which are done."""
        self.first, self.done, self.total = first_step, first_step, total_steps
        self.started_at = time.monotonic()

    def step(self, step: int, epoch: int) -> None:
        """Report that `step` steps of the run are done, the last one in `epoch`."""
        self.done = step

    def epoch(self, row: Mapping[str, float], epochs: int) -> None:
        """Report a finished epoch; `row` is its line of metrics.jsonl."""

    def close(self) -> None:
        """End the report."""


class LogProgress(Progress):
    """One line per epoch, for logs."""

    def epoch(self, row: Mapping[str, float], epochs: int) -> None:
        done, to_do = self.done - self.first, self.total - self.done
        left = f"{to_do} steps"
        if done:
            left = f"{format_duration((time.monotonic() - self.started_at) / done * to_do)} left"
        print(f"{self.label}  {format_epoch(row, epochs)}  {left}", flush=True)


class BarProgress(Progress):
    """A bar over the steps of the run, with a line above it for every validated epoch."""

    def start(self, first_step: int, total_steps: int) -> None:
        from rich import progress as rich

        super().start(first_step, total_steps)
        # Without the label, which fills half of a terminal: the lines above the bar have it.
        columns = (rich.BarColumn(None), rich.MofNCompleteColumn(), "{task.fields[rate]}", rich.TimeRemainingColumn())
        self.bar = rich.Progress("epoch {task.fields[epoch]}", *columns)
        self.task = self.bar.add_task("", total=total_steps, completed=first_step, epoch=0, rate="")
        self.bar.start()  # may fail on a closed terminal, after which `step` is still called

    def step(self, step: int, epoch: int) -> None:
        rate = (step - self.first) / max(1e-9, time.monotonic() - self.started_at)
        self.bar.update(self.task, completed=step, epoch=epoch, rate=f"{rate:.2f} steps/s")

    def epoch(self, row: Mapping[str, float], epochs: int) -> None:
        if "dice" in row or "interim/dice" in row:
            self.bar.console.print(format_epoch(row, epochs), highlight=False)

    def close(self) -> None:
        self.bar.stop()


class EstimatedProgress(Progress):
    """Reports as `progress` does, and once the time of a long run, from the first steps that this process takes.

    It is for a CPU, where a step has ended when the next one begins. `remedy` ends the sentence.
    """

    def __init__(self, progress: Progress, remedy: str) -> None:
        super().__init__(progress.label)
        self.progress, self.remedy, self.is_open = progress, remedy, True
        self.ends: list[float] = []

    def start(self, first_step: int, total_steps: int) -> None:
        super().start(first_step, total_steps)
        self.progress.start(first_step, total_steps)

    def step(self, step: int, epoch: int) -> None:
        super().step(step, epoch)
        self.progress.step(step, epoch)
        if not self.is_open:
            return
        self.ends.append(time.monotonic())  # that of the first step, which compiles and allocates, begins the second
        if len(self.ends) > _STEPS_TIMED or self.ends[-1] - self.ends[0] > _MOST_SECONDS_TIMED:
            self.is_open = False
            per_step = median(end - start for start, end in pairwise(self.ends))  # few compile a rare transform
            if (left := per_step * (self.total - step)) >= _LONG_SECONDS:
                steps = f"{self.total - step:,} steps of {per_step:.2g} s on this CPU, and the validation"
                print(f"{self.label}: about {format_duration(left)} for {steps}{self.remedy}", flush=True)

    def epoch(self, row: Mapping[str, float], epochs: int) -> None:
        self.progress.epoch(row, epochs)

    def close(self) -> None:
        self.progress.close()


class GuardedProgress(Progress):
    """Reports as `report` does. What cannot be written, as on a full disk, is left out."""

    def __init__(self, report: Progress) -> None:
        super().__init__(report.label)
        self.report = report

    def start(self, first_step: int, total_steps: int) -> None:
        self._guard(self.report.start, first_step, total_steps)

    def step(self, step: int, epoch: int) -> None:
        self._guard(self.report.step, step, epoch)

    def epoch(self, row: Mapping[str, float], epochs: int) -> None:
        self._guard(self.report.epoch, row, epochs)

    def close(self) -> None:
        self._guard(self.report.close)

    def _guard(self, call: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        with suppress(OSError):
            call(*args, **kwargs)


def make_progress(kind: str, label: str) -> Progress:
    """Make the progress that `trainer.progress` names; `auto` is a bar in a terminal and lines elsewhere."""
    if kind == "auto":
        kind = "bar" if sys.stdout.isatty() else "lines"
    return {"none": Progress, "bar": BarProgress, "lines": LogProgress}[kind](label)


def format_epoch(row: Mapping[str, float], epochs: int) -> str:
    """Format the metrics of one epoch as a line."""
    text = f"epoch {row['epoch']}/{epochs}"
    if "loss" in row:
        text += f"  loss {row['loss']:.4f}"
    for name, title in (("dice", "Dice"), ("interim/dice", "interim Dice")):
        if name in row:
            of_region = {k.removeprefix(f"{name}/"): v for k, v in row.items() if k.startswith(f"{name}/")}
            text += f"  {title} {row[name]:.4f} ({' '.join(f'{region} {v:.3f}' for region, v in of_region.items())})"
    return text


def time_breakdown(rows: Sequence[Mapping[str, float]]) -> str:
    """Format the percentage of time per phase of a run, from its lines of metrics.jsonl."""
    phases = ("data", "forward", "backward", "optimizer", "validation")
    seconds = {phase: sum(float(row.get(f"seconds/{phase}", 0)) for row in rows) for phase in phases}
    total = sum(seconds.values())
    if not total:
        return "no time recorded"
    return ", ".join(f"{phase} {spent / total:.0%}" for phase, spent in seconds.items()) + " of the time"
