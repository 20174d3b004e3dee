from __future__ import annotations

from typing import Any

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

    def to(_: torch.Tensor, device: torch.device, non_blocking: bool = False) -> str:
        calls.append((device, non_blocking))
        return "on the GPU"

    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda _: pinned)
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    monkeypatch.setattr(torch.Tensor, "to", to)
    device = torch.device("cuda", 1)
    assert to_device(torch.arange(3), device) == "on the GPU"
    assert calls == [*([] if pinned else ["pin"]), (device, True)]


def test_what_is_on_the_device_stays() -> None:
    tensor = torch.zeros(3, device="meta")
    assert to_device(tensor, tensor.device) is tensor
