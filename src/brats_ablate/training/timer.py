"""Which share of an epoch is data, forward, backward and validation, without making the GPU wait for the answer."""

from __future__ import annotations

import time
from collections import defaultdict

import torch


class Timer:
    """Adds up the seconds between marks, by name.

    On a GPU the marks are events in its queue, read when the epoch is over: between two marks it computed, or it
    stood idle because the host brought nothing.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._spans: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []
        self._last: float | torch.cuda.Event = 0.0

    def start(self) -> None:
        """Begin at this moment."""
        self._last = self._now()

    def mark(self, name: str) -> None:
        """Count the time since the last mark as `name`."""
        now = self._now()
        if isinstance(now, float) and isinstance(self._last, float):
            self._seconds[name] += now - self._last
        elif isinstance(now, torch.cuda.Event) and isinstance(self._last, torch.cuda.Event):
            self._spans.append((name, self._last, now))
        self._last = now

    def add(self, name: str, seconds: float) -> None:
        """Count `seconds` measured elsewhere."""
        self._seconds[name] += seconds

    def read(self) -> dict[str, float]:
        """Seconds by name since the last reading; waits for the GPU."""
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
