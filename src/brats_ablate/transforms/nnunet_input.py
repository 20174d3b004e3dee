"""The input of nnU-Net's imported networks: its normalization, which needs the whole case."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from brats_ablate.errors import ConfigError
from brats_ablate.transforms.foreground import ModalitiesOnly, non_zero_in_any

_SMALLEST_SD = 1e-8


class NnunetInput(ModalitiesOnly):
    """The modalities, z-scored as nnU-Net v2 does, for prediction only.

    The mask of nnU-Net is one for all modalities: voxels that are non-zero in any of them, holes filled. Here each
    modality is normalized on its own non-zero voxels.

    Args:
        modalities: names, in the order of nnU-Net's channels.
        use_mask: of each modality, whether mean and SD are of the mask and the rest is 0; else they are of the whole
            cropped volume.
        spacing: voxel edges in mm along X, Y, Z that the network was trained on.
        file_directions: whether the network takes volumes whose axes run as in the files, not as RAS+.
    """

    def __init__(
        self, modalities: Sequence[str], use_mask: Sequence[bool], spacing: Sequence[float], file_directions: bool
    ) -> None:
        super().__init__(modalities)
        self.use_mask, self.spacing, self.file_directions = tuple(use_mask), tuple(spacing), file_directions

    def case_input(self, raw: Tensor) -> Tensor:
        """Build the input (1, M, X, Y, Z) float32 of a whole case's raw images (M, X, Y, Z)."""
        from scipy.ndimage import binary_fill_holes

        non_zero = non_zero_in_any(raw[None])[0, 0]
        filled = np.asarray(binary_fill_holes(non_zero.cpu().numpy()))
        mask = torch.from_numpy(filled).to(raw.device)
        images = raw.to(torch.float32, copy=True)
        for image, is_masked in zip(images, self.use_mask, strict=True):
            voxels = (image[mask] if is_masked else image).double()
            mean, sd = float(voxels.mean()), float(voxels.std(correction=0))
            image.sub_(mean).div_(max(sd, _SMALLEST_SD))
            if is_masked:
                image.masked_fill_(~mask, 0)
        return images[None]

    def stack_channels(self, images: Tensor, foreground: Tensor) -> NoReturn:
        """Refuse to build the input of patches, whose normalization would be another than that of a case."""
        raise ConfigError("inputs: nnU-Net's normalization is for its imported networks; train with inputs=plain")
