from __future__ import annotations

from contextlib import nullcontext
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from brats_ablate.runtime.memory import to_device


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
    monkeypatch.setattr("brats_ablate.runtime.memory._copy_stream", lambda _: "copy stream")
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda used: nullcontext(calls.append(used)))
    device = torch.device("cuda", 1)
    copy = to_device(torch.arange(3), device)
    assert calls == [*([] if pinned else ["pin"]), "copy stream", (device, True)]
    stream.wait_stream.assert_called_once_with("copy stream")
    copy.record_stream.assert_called_once_with(stream)


def test_what_is_on_the_device_stays() -> None:
    tensor = torch.zeros(3, device="meta")
    assert to_device(tensor, tensor.device) is tensor
