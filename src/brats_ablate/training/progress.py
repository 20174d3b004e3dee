"""What a person sees of a run: a bar with throughput and time left in a terminal, a line per epoch elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Progress(Protocol):
    """Told of every step and epoch; never asked for anything."""

    def step(self, step: int, epoch: int) -> None:
        """`step` steps of the run are done, the last one in `epoch`."""

    def epoch(self, row: Mapping[str, Any], epochs: int) -> None:
        """An epoch is done; `row` is its line of metrics.jsonl."""

    def close(self) -> None:
        """The run ends or stops here."""


class NullProgress:
    """Shows nothing: for ranks other than the first, and `trainer.progress=none`."""

    def step(self, step: int, epoch: int) -> None:
        pass

    def epoch(self, row: Mapping[str, Any], epochs: int) -> None:
        pass

    def close(self) -> None:
        pass


class LogProgress:
    """One line per epoch: for logs."""

    def __init__(self, label: str, first_step: int, total_steps: int) -> None:
        self.label, self.first, self.total = label, first_step, total_steps
        self.done, self.began = first_step, time.monotonic()

    def step(self, step: int, epoch: int) -> None:
        self.done = step

    def epoch(self, row: Mapping[str, Any], epochs: int) -> None:
        print(f"{self.label}  {describe(row, epochs)}  {self._left()}", flush=True)

    def close(self) -> None:
        pass

    def _left(self) -> str:
        if self.done == self.first:
            return f"{self.total - self.done} steps"
        taken = time.monotonic() - self.began
        per_step = taken / (self.done - self.first)
        return f"{duration(per_step * (self.total - self.done))} left"


class BarProgress:
    """A bar over the steps of the run, with a line above it for every epoch that was validated."""

    def __init__(self, label: str, first_step: int, total_steps: int) -> None:
        from rich import progress as rich_progress

        self.first = first_step
        self.began = time.monotonic()
        self.bar = rich_progress.Progress(
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TextColumn("epoch {task.fields[epoch]}  {task.fields[rate]}"),
            rich_progress.TimeRemainingColumn(),
        )
        self.bar.start()
        self.task = self.bar.add_task(label, total=total_steps, completed=first_step, epoch=0, rate="")

    def step(self, step: int, epoch: int) -> None:
        rate = (step - self.first) / max(1e-9, time.monotonic() - self.began)
        self.bar.update(self.task, completed=step, epoch=epoch, rate=f"{rate:.2f} steps/s")

    def epoch(self, row: Mapping[str, Any], epochs: int) -> None:
        if "dice" in row:
            self.bar.console.print(describe(row, epochs), highlight=False)

    def close(self) -> None:
        self.bar.stop()


def make_progress(kind: str, label: str, first_step: int, total_steps: int) -> Progress:
    """The progress that `trainer.progress` names; `auto` is a bar in a terminal and lines elsewhere."""
    if kind == "auto":
        kind = "bar" if sys.stdout.isatty() else "lines"
    if kind == "none":
        return NullProgress()
    return (BarProgress if kind == "bar" else LogProgress)(label, first_step, total_steps)


def describe(row: Mapping[str, Any], epochs: int) -> str:
    """One epoch in words."""
    text = f"epoch {row['epoch']}/{epochs}"
    if "loss" in row:
        text += f"  loss {row['loss']:.4f}"
    if "dice" in row:
        text += f"  Dice {row['dice']:.4f} (WT {row['dice/WT']:.3f} TC {row['dice/TC']:.3f} ET {row['dice/ET']:.3f})"
    return text


def time_breakdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Where the time of a run went, in words, from its epochs' lines of metrics.jsonl."""
    phases = ("data", "forward", "backward", "optimizer", "validation")
    seconds = {phase: sum(float(row.get(f"seconds/{phase}", 0)) for row in rows) for phase in phases}
    whole = sum(seconds.values())
    if not whole:
        return "no time recorded"
    return ", ".join(f"{phase} {spent / whole:.0%}" for phase, spent in seconds.items()) + " of the time"


def duration(seconds: float) -> str:
    """Seconds as a person says them: 45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
