"""Timings: what is timed runs as often as said, in turns, and the ratio is that of the shortest passes."""

from __future__ import annotations

import pytest
import torch

from brats_ablate.model_summary import timings
from brats_ablate.model_summary.timings import time_against


class Clock:
    """Stands in for a contestant and for the clock: each pass takes the next of its given seconds."""

    now = 0.0
    log: list[str]

    def __init__(self, name: str, seconds: list[float], log: list[str]) -> None:
        self.name, self.seconds, self.log = name, seconds, log
        self.precision = timings.Precision("fp32", torch.device("cpu"))

    def forward(self) -> None:
        self.log.append(self.name)
        Clock.now += self.seconds[0]
        self.seconds = [*self.seconds[1:], self.seconds[0]]

    step = forward


def test_ratio_is_of_the_shortest_and_passes_alternate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timings.time, "perf_counter", lambda: Clock.now)
    log: list[str] = []
    # The first of each four is the warm-up, shorter than any that counts.
    reference = Clock("reference", [0.5, 4.0, 2.0, 8.0], log)
    candidate = Clock("candidate", [0.5, 7.0, 9.0, 3.0], log)
    timing = time_against(reference, candidate, repeats=3)  # type: ignore[arg-type]
    assert log == ["reference", "candidate"] * 8
    assert timing.forward_s == pytest.approx(3.0)
    assert timing.forward_ratio == pytest.approx(1.5)
    assert timing.step_ratio == pytest.approx(1.5)
