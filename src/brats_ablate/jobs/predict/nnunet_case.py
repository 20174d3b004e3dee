"""What a case must be for an imported network of nnU-Net, which would change other cases before it predicts them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from brats_ablate.data.case_reader import PreparedCase
from brats_ablate.data.nifti import Orientation
from brats_ablate.data.store import stored_spacing_mm
from brats_ablate.errors import DataError
from brats_ablate.inference.tta import Predict
from brats_ablate.transforms.nnunet_input import NnunetInput


def as_nnunet(predict: Predict, case: PreparedCase, inputs: NnunetInput) -> Predict:
    """Return `predict` for volumes in RAS+ of a network that takes those of `inputs`.

    Raises:
        DataError: nnU-Net would resample the case, sees other voxels, or other axes.
    """
    _require_same_voxels(case, inputs)
    if not inputs.file_directions:
        return predict
    orientation = Orientation.of(np.asarray(case.record.grid.affine))
    if orientation.axes != (0, 1, 2):
        raise DataError(
            f"{case.record.case_id}: the axes of its files do not run along X, Y and Z in this order, as nnU-Net's "
            "networks were imported for; reorient the files"
        )
    dims = [axis + 2 for axis, is_flipped in enumerate(orientation.flipped) if is_flipped]

    def in_file_directions(volume: Tensor) -> Tensor:
        return torch.flip(predict(torch.flip(volume, dims)), dims)

    return in_file_directions


def _require_same_voxels(case: PreparedCase, inputs: NnunetInput) -> None:
    record, case_id = case.record, case.record.case_id
    if set(case.modalities) != set(inputs.modalities or ()):
        raise DataError(
            f"{case_id} has the modalities {', '.join(case.modalities)}, but nnU-Net crops to those of its own, "
            f"{', '.join(inputs.modalities or ())}; give the case with these"
        )
    if record.resampled_mm is not None:
        raise DataError(f"{case_id} was resampled by data.spacing, which nnU-Net does otherwise; set data.spacing=null")
    if any(case.backgrounds):
        raise DataError(
            f"{case_id} has a background of {max(case.backgrounds, key=abs):g}, which nnU-Net does not take for one; "
            "set its background to 0"
        )
    spacing = stored_spacing_mm(record)
    shape = [round(n * own / theirs) for n, own, theirs in zip(record.box.shape, spacing, inputs.spacing, strict=True)]
    if tuple(shape) != tuple(record.box.shape):
        raise DataError(
            f"{case_id} has voxels of {_mm(spacing)}, which nnU-Net resamples to {_mm(inputs.spacing)}; its resampling "
            "is not reproduced, so predict this case with nnU-Net"
        )


def _mm(spacing: tuple[float, ...]) -> str:
    return "×".join(f"{edge:.3g}" for edge in spacing) + " mm"
