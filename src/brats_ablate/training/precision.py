"""Mixed precision: the number format the network computes in, and the loss scaling that fp16 needs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from brats_ablate.errors import ConfigError

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """A resolved precision on a device. Weights, losses and optimizer stay in fp32."""

    name: str
    device: torch.device

    @classmethod
    def resolve(cls, name: str, device: torch.device) -> Precision:
        """Resolve `auto` to bf16 where the device computes it in hardware, else to fp16 on a GPU and fp32 on a CPU.

        Raises:
            ConfigError: the device has no TF32.
        """
        if name == "tf32" and (device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0)):
            raise ConfigError(
                f"trainer.precision=tf32 needs an NVIDIA GPU since Ampere, not {device}; set fp32 or auto"
            )
        if name != "auto":
            return cls(name, device)
        if device.type == "cuda":
            return cls("bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16", device)
        # Older releases lack get_capabilities: fp32 is always right.
        capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        fast = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
        return cls("bf16" if fast else "fp32", device)

    def allow_tf32(self) -> None:
        """Allow TF32 in this process's fp32 convolutions and matrix products if this is `tf32`, forbid it otherwise.

        torch allows it in convolutions by default, which leaves fp32 a mantissa of 10 bits on a GPU.
        """
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = self.name == "tf32"

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which the network runs."""
        if self.name not in _TYPES:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=_TYPES[self.name])

    def force_fp32_on_flat_inputs(self, model: nn.Module) -> None:
        """Turn the convolutions of `model` into `FlatSafeConv3d`, in place, on a CPU in bf16."""
        if self.device.type != "cpu" or self.name != "bf16":
            return
        for module in model.modules():
            if type(module) is nn.Conv3d:
                module.__class__ = FlatSafeConv3d

    def scaler(self) -> torch.amp.GradScaler:
        """Return the loss scaler of fp16, which does nothing in the other precisions."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")


class FlatSafeConv3d(nn.Conv3d):
    """`nn.Conv3d` that computes in fp32 where an axis of the input has one or two voxels.

    oneDNN's bf16 weight gradient of a 3³ convolution reads uninitialized memory there (torch 2.13 on AVX512_BF16; the
    bottleneck of seven stages on a 128³ patch is 2³). Such inputs are tiny, so fp32 costs nothing.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, X, Y, Z) -> (B, O, X', Y', Z')."""
        if min(x.shape[2:]) > 2:
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float())
