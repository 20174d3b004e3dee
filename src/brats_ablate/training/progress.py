"""Progress reporting of a run: a bar with throughput and time left in a terminal, a line per epoch in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence


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
        columns = ("epoch {task.fields[epoch]}  {task.fields[rate]}", rich.TimeRemainingColumn())
        self.bar = rich.Progress("{task.description}", rich.BarColumn(), rich.MofNCompleteColumn(), *columns)
        self.bar.start()
        self.task = self.bar.add_task(self.label, total=total_steps, completed=first_step, epoch=0, rate="")

    def step(self, step: int, epoch: int) -> None:
        rate = (step - self.first) / max(1e-9, time.monotonic() - self.started_at)
        self.bar.update(self.task, completed=step, epoch=epoch, rate=f"{rate:.2f} steps/s")

    def epoch(self, row: Mapping[str, float], epochs: int) -> None:
        if "dice" in row or "interim/dice" in row:
            self.bar.console.print(format_epoch(row, epochs), highlight=False)

    def close(self) -> None:
        self.bar.stop()


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


def format_duration(seconds: float) -> str:
    """Format seconds as 45 s, 12 min, or 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
