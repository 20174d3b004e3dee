"""`trainer.profile`: a trace of a few training steps, and a table of the operations that take longest."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from brats_ablate.runtime.files import write_text
from brats_ablate.runtime.output import print_line
from brats_ablate.runtime.text import align
from brats_ablate.training.progress import Progress

SKIPPED, PROFILED = 5, 5
"""Steps of this process before the profiled ones, in which kernels are compiled and chosen, and profiled steps."""
_LISTED = 30


class Operation(NamedTuple):
    """One execution of an operation. Times are in µs."""

    name: str
    start: float
    end: float
    self_time: float
    """Without the operations that it calls; of a kernel `end - start`."""


class ProfiledProgress(Progress):
    """Reports as `progress` does, and profiles steps 6 to 10 of this process, or the last ones of a shorter run.

    Writes `trace.json.gz` (open it in ui.perfetto.dev) and `kernels.txt` into `folder`, on a GPU of its kernels, else
    of the operations on the CPU.
    """

    def __init__(self, progress: Progress, folder: Path, device: torch.device) -> None:
        super().__init__(progress.label)
        self.progress, self.folder, self.device = progress, folder, device
        self.includes_validation = False
        self.profiler: profile | None = None

    def start(self, first_step: int, total_steps: int) -> None:
        super().start(first_step, total_steps)
        self.progress.start(first_step, total_steps)
        steps = total_steps - first_step
        self.skipped = min(SKIPPED, steps - 1)
        self.last = min(self.skipped + PROFILED, steps)
        if self.skipped == 0:
            self._begin()

    def step(self, step: int, epoch: int) -> None:
        super().step(step, epoch)
        self.progress.step(step, epoch)
        if step - self.first == self.skipped:
            self._begin()
        elif step - self.first == self.last:
            self._end()

    def epoch(self, row: Mapping[str, float], epochs: int) -> None:
        self.progress.epoch(row, epochs)
        self.includes_validation |= self.profiler is not None and "seconds/validation" in row

    def close(self) -> None:
        self.progress.close()
        if self.profiler is not None:
            self.profiler.stop()
        if self.profiler is not None or self.done - self.first < self.skipped:
            first, last = self.skipped + 1, self.last
            print_line(f"{self.label}: not profiled, because it ended before the end of steps {first} to {last}")

    def _begin(self) -> None:
        activities = [ProfilerActivity.CPU]
        if self.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        self.profiler = profile(activities=activities)
        self.profiler.start()
        self._synchronize()
        self.began_at = time.perf_counter()

    def _end(self) -> None:
        self._synchronize()
        wall_us = (time.perf_counter() - self.began_at) * 1e6
        assert self.profiler is not None
        self.profiler.stop()
        self.folder.mkdir(exist_ok=True)
        trace = self.folder / "trace.json.gz"
        self.profiler.export_chrome_trace(str(trace))
        operations = list(operations_of(self.profiler.events() or (), on_gpu=self.device.type == "cuda"))
        table = self.folder / "kernels.txt"
        write_text(table, self._heading(operations, wall_us) + longest(operations, self.last - self.skipped) + "\n")
        self.profiler = None
        print_line(f"{self.label}: profiled; open {trace} in ui.perfetto.dev, and see {table}")

    def _heading(self, operations: list[Operation], wall_us: float) -> str:
        steps = self.last - self.skipped
        first, last = self.first + self.skipped + 1, self.first + self.last
        lines = [f"Steps {first} to {last} of {self.label}: {wall_us / 1e3 / steps:.1f} ms per step"]
        if self.includes_validation:
            lines[0] += ", validation between them included"
        if self.device.type == "cuda":
            busy = busy_share([(o.start, o.end) for o in operations], wall_us)
            lines.append(f"The GPU computed in {busy:.1%} of this time")
        kind = "kernels" if self.device.type == "cuda" else "operations by their own time on the CPU, all threads"
        return "\n".join([*lines, f"The longest {kind}, per step:", "", ""])

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def busy_share(intervals: Iterable[tuple[float, float]], wall: float) -> float:
    """Return the fraction of `wall` that the union of `intervals` (start, end) covers, all in one unit of time."""
    covered, until = 0.0, float("-inf")
    for start, end in sorted(intervals):
        covered += max(0.0, end - max(start, until))
        until = max(until, end)
    return covered / wall


def longest(operations: Iterable[Operation], steps: int) -> str:
    """Return a table of the operations with most time of their own: ms and calls per step, share of all operations."""
    times: defaultdict[str, float] = defaultdict(float)
    calls: defaultdict[str, int] = defaultdict(int)
    for operation in operations:
        times[operation.name] += operation.self_time
        calls[operation.name] += 1
    total = sum(times.values()) or 1.0
    names = sorted(times, key=lambda name: (-times[name], name))[:_LISTED]
    rows = [[f"{times[n] / 1e3 / steps:.3f}", f"{times[n] / total:.1%}", f"{calls[n] / steps:g}", n] for n in names]
    return align([["ms", "share", "calls", "name"], *rows])


def operations_of(events: Iterable[Any], *, on_gpu: bool) -> Iterable[Operation]:
    """Yield the kernels of the profiler's events, or the operations on the CPU; named regions and copies left out."""
    for event in events:
        if event.is_user_annotation or (event.device_type.name == "CPU") == on_gpu:
            continue
        if on_gpu and event.name.startswith(("Memcpy", "Memset")):
            continue
        start, end = event.time_range.start, event.time_range.end
        yield Operation(event.name, start, end, end - start if on_gpu else event.self_cpu_time_total)
