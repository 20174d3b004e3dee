"""Timing of the phases of an epoch (data, forward, backward, optimizer) without synchronizing with the GPU."""

from __future__ import annotations

import time
from collections import defaultdict

import torch


class Timer:
    """Adds up the seconds between laps, by name.

    On a GPU the laps are events in its queue, which are read when the epoch is over. The intervals include idle time of
    the GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._spans: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []
        self._last: float | torch.cuda.Event = 0.0

    def start(self) -> None:
        """Start the first lap."""
        self._last = self._now()

    def lap(self, name: str) -> None:
        """Count the time since the last lap as `name`."""
        now = self._now()
        if isinstance(now, float) and isinstance(self._last, float):
            self._seconds[name] += now - self._last
        elif isinstance(now, torch.cuda.Event) and isinstance(self._last, torch.cuda.Event):
            self._spans.append((name, self._last, now))
        self._last = now

    def flush(self) -> dict[str, float]:
        """Return the seconds by name since the last flush; waits for the GPU."""
        if self._spans:
            torch.cuda.synchronize()
            for name, start, stop in self._spans:
                self._seconds[name] += start.elapsed_time(stop) / 1000
        seconds = dict(self._seconds)
        self._seconds.clear()
        self._spans.clear()
        return seconds

    def _now(self) -> float | torch.cuda.Event:
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event
