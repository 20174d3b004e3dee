"""Checkpoints of nnU-Net v2, and their weights by the names and axes of this program."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from brats_ablate.errors import DataError

_SCALAR = np.float64(0).__reduce__()[0]
_SAFE: list[Any] = [
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *(np.dtype, *(type(np.dtype(name)) for name in ("float16", "float32", "float64", "int32", "int64", "bool"))),
]
"""What nnU-Net's log in a checkpoint consists of besides plain values."""
_ENCODER = re.compile(r"encoder\.stages\.(\d+)\.0\.convs\.(\d+)\.(conv|norm)\.(weight|bias)")
_DECODER = re.compile(r"decoder\.stages\.(\d+)\.convs\.(\d+)\.(conv|norm)\.(weight|bias)")
_UPSAMPLE = re.compile(r"decoder\.transpconvs\.(\d+)\.(weight|bias)")
_HEAD = re.compile(r"decoder\.seg_layers\.(\d+)\.(weight|bias)")
_SAME_TENSOR = re.compile(r"decoder\.encoder\.|.*\.all_modules\.\d+\.")
"""Further names of tensors that have one above."""


def load(file: Path) -> dict[str, Any]:
    """Read a checkpoint of nnU-Net; it runs no code.

    Raises:
        DataError: it is missing, damaged, contains objects of other classes, or no weights.
    """
    try:
        with torch.serialization.safe_globals(_SAFE):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"{file} does not exist; train this fold to its end, or choose another job.weights") from None
    except Exception as error:  # of any kind, as wrong bytes lead zipfile, torch and pickle anywhere
        reason = "classes other than tensors and numbers" if "GLOBAL" in str(error) else type(error).__name__
        raise DataError(f"{file} is damaged or no checkpoint of nnU-Net v2 ({reason}); copy it again") from error
    weights = content.get("network_weights") if isinstance(content, dict) else None
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise DataError(f"{file} contains no network_weights as nnU-Net v2 saves them; choose another file")
    return dict(content)


def of_unet(weights: Mapping[str, Tensor], stages: int, axes: Sequence[int]) -> dict[str, Tensor]:
    """Return the weights of a PlainConvUNet by the names of `models.unet.UNet`, its finest head only.

    Biases before an instance norm are left out: the norm subtracts them.

    Args:
        weights: nnU-Net's.
        stages: of the encoder.
        axes: for X, Y and Z, nnU-Net's axis.

    Raises:
        ValueError: a tensor has no counterpart.
    """
    named: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if _SAME_TENSOR.match(name):
            continue
        if match := _ENCODER.fullmatch(name):
            stage, layer, kind, part = match.groups()
            key = f"encoder.{stage}.0.{layer}.{_INDEX[kind]}.{part}"
        elif match := _DECODER.fullmatch(name):
            stage, layer, kind, part = match.groups()
            key = f"decoder.{stages - 2 - int(stage)}.block.{layer}.{_INDEX[kind]}.{part}"
        elif match := _UPSAMPLE.fullmatch(name):
            kind, key = "", f"decoder.{stages - 2 - int(match[1])}.upsample.{match[2]}"
        elif match := _HEAD.fullmatch(name):
            if int(match[1]) != stages - 2:
                continue  # a head of deep supervision
            kind, key = "", f"heads.0.{match[2]}"
        else:
            raise ValueError(f"{name} is no part of a PlainConvUNet")
        if kind == "conv" and key.endswith("bias"):
            continue
        named[key] = in_axes(tensor, axes)
    return named


_INDEX = {"conv": 0, "norm": 2}
"""Positions in `models.blocks.ConvLayer`."""


def of_external(weights: Mapping[str, Tensor], axes: Sequence[int]) -> dict[str, Tensor]:
    """Return the weights of any network by the names of `models.nnunet.DynamicNetwork` in an `ExternalModel`."""
    permuted: dict[int, Tensor] = {}  # names that share a tensor share it in the file, too
    for tensor in weights.values():
        permuted.setdefault(tensor.data_ptr(), in_axes(tensor, axes))
    return {f"network.network.{name}": permuted[tensor.data_ptr()] for name, tensor in weights.items()}


def in_axes(tensor: Tensor, axes: Sequence[int]) -> Tensor:
    """Return a weight with the spatial axes X, Y, Z, where it has three; `axes` are nnU-Net's."""
    return tensor.permute(0, 1, *(2 + axis for axis in axes)).contiguous() if tensor.ndim == 5 else tensor
