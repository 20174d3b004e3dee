"""Which number format the network computes in, and the scaling of gradients that fp16 needs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """A resolved precision on a device. Weights, losses and the optimiser stay in fp32 (mixed precision)."""

    name: str
    device: torch.device

    @classmethod
    def resolve(cls, name: str, device: torch.device) -> Precision:
        """`auto` is bf16 where the device computes it in hardware, else fp16 on a GPU and fp32 on a CPU."""
        if name != "auto":
            return cls(name, device)
        if device.type == "cuda":
            return cls("bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16", device)
        capabilities: dict[str, bool] = getattr(
            torch.cpu, "get_capabilities", dict
        )()  # absent from older releases: fp32 is always right
        fast = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
        return cls("bf16" if fast else "fp32", device)

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which the network runs."""
        if self.name == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=_TYPES[self.name])

    def guard(self, model: torch.nn.Module) -> None:
        """Compute the convolutions of nearly flat inputs in fp32, on a CPU in bf16.

        oneDNN's bf16 weight gradient of a 3³ convolution reads uninitialised memory where the first axis has one or two
        voxels (seen with torch 2.13 on AVX512_BF16; the bottleneck of seven levels on a 128³ patch is 2³). Such inputs
        are tiny, so fp32 costs nothing.
        """
        if self.device.type != "cpu" or self.name != "bf16":
            return
        for module in model.modules():
            if isinstance(module, torch.nn.Conv3d):
                module.forward = partial(_unless_flat, module.forward)  # type: ignore[method-assign]

    def scaler(self) -> torch.amp.GradScaler:
        """Scales losses for fp16; does nothing in the other precisions."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")


def _unless_flat(convolve: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    if min(x.shape[2:]) > 2:
        return convolve(x)
    with torch.autocast("cpu", enabled=False):
        return convolve(x.float())


def choose_device(name: str, local_rank: int) -> torch.device:
    """The device of this process: `auto` is the GPU of its local rank where there is one."""
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    return torch.device("cuda", local_rank % torch.cuda.device_count())
