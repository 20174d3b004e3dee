"""SwinUNETR: a contender of today, beyond the paper; MONAI's network."""

from __future__ import annotations

from brats_ablate.models.encoder import Encoder
from brats_ablate.models.monai_model import MonaiModel


class SwinUNETR(MonaiModel):
    """SwinUNETR: (B, C, X, Y, Z) -> logits (Hatamizadeh et al., arXiv:2201.01266).

    Args:
        in_channels, out_channels: C, and the number of regions.
        heads: 1, as there are no lower heads.
        patch_shape: (X, Y, Z), each divisible by 32; any such shape may be given to `forward`.
        encoder: its width scales `feature_size`; its channels do not matter here.
        feature_size: channels of the finest level, a multiple of 12.

    Raises:
        ConfigError: if a patch axis is not divisible by 32, or for more than one head.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int,
        patch_shape: tuple[int, int, int],
        encoder: Encoder,
        feature_size: int,
    ) -> None:
        super().__init__(patch_shape, (32, 32, 32), heads)
        from monai.networks import nets  # all of MONAI loads with it: seconds

        self.adopt(nets.SwinUNETR(in_channels, out_channels, feature_size=encoder.scale(feature_size, 12)))
