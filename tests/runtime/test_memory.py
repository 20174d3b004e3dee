from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from brats_ablate.runtime.memory import reset_peak_memory, to_device


def test_on_the_cpu_nothing_is_copied() -> None:
    tensor = torch.arange(3)
    assert to_device(tensor, torch.device("cpu")) is tensor


@pytest.mark.parametrize("pinned", [False, True])
def test_a_copy_to_a_gpu_is_pinned_and_does_not_block(monkeypatch: pytest.MonkeyPatch, pinned: bool) -> None:
    calls: list[Any] = []

    def pin_memory(tensor: torch.Tensor) -> torch.Tensor:
        calls.append("pin")
        return tensor

    def to(_: torch.Tensor, device: torch.device, non_blocking: bool = False) -> Mock:
        calls.append((device, non_blocking))
        return Mock(spec=["record_stream"])

    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda _: pinned)
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    monkeypatch.setattr(torch.Tensor, "to", to)
    stream = Mock(spec=["wait_stream"])
    device = torch.device("cuda", 1)
    copying = SimpleNamespace(device=device)
    monkeypatch.setattr("brats_ablate.runtime.memory.copy_stream", lambda _: copying)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: stream)
    for context in ("device", "stream"):
        monkeypatch.setattr(torch.cuda, context, lambda used: nullcontext(calls.append(used)))
    copy = to_device(torch.arange(3), device)
    assert calls == [*([] if pinned else ["pin"]), device, copying, (device, True)]
    stream.wait_stream.assert_called_once_with(copying)
    copy.record_stream.assert_called_once_with(stream)


def test_what_is_on_the_device_stays() -> None:
    tensor = torch.zeros(3, device="meta")
    assert to_device(tensor, tensor.device) is tensor


TWO_RUNS = """
import torch
from brats_ablate.runtime.memory import disable_malloc_trim, peak_memory_bytes, reset_peak_memory
cpu, peaks = torch.device("cpu"), []
disable_malloc_trim()
for mib in (200, 20):
    reset_peak_memory(cpu)
    torch.ones(mib, 2**18)
    peaks.append(peak_memory_bytes(cpu))
print((peaks[0] - peaks[1]) / 2**20)
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the kernel cannot reset the peak")
def test_the_peak_is_that_of_the_run_not_of_an_earlier_one_in_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", TWO_RUNS], capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(180, abs=20)


def test_the_peak_on_a_gpu_is_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: calls.append("freed"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", calls.append)
    device = torch.device("cuda", 1)
    reset_peak_memory(device)
    assert calls == ["freed", device]
