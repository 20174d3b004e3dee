"""UNETR (Table 1): MONAI's network, with what it leaves unused taken out."""

from __future__ import annotations

from torch import nn

from brats_ablate.models.encoder import Encoder
from brats_ablate.models.monai_model import MonaiModel


class UNETR(MonaiModel):
    """UNETR: (B, C, *patch_shape) -> logits (paper section 2.3, Hatamizadeh et al., arXiv:2103.10504).

    Tokens of 16³ voxels through a transformer of 12 layers, four of which feed a convolutional decoder. The
    network is MONAI's without the norm of an absent cross-attention, which would get no gradient.

    Args:
        in_channels, out_channels: C, and the number of regions.
        heads: 1, as there are no lower heads.
        patch_shape: (X, Y, Z), each divisible by 16; fixed by the positional embedding.
        encoder: its width scales the two sizes below; its channels do not matter here.
        feature_size: channels of the finest decoder level.
        hidden_size: of a token.
        num_heads: attention heads of each layer.

    Raises:
        ConfigError: if a patch axis is not divisible by 16, or for more than one head.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int,
        patch_shape: tuple[int, int, int],
        encoder: Encoder,
        feature_size: int,
        hidden_size: int,
        num_heads: int,
    ) -> None:
        super().__init__(patch_shape, (16, 16, 16), heads)
        from monai.networks import nets  # all of MONAI loads with it: seconds

        hidden = encoder.scale(hidden_size, 2 * num_heads)
        network = nets.UNETR(
            in_channels,
            out_channels,
            img_size=self.patch_shape,
            feature_size=encoder.scale(feature_size, 4),
            hidden_size=hidden,
            mlp_dim=4 * hidden,
            num_heads=num_heads,
            norm_name="instance",
        )
        for block in network.vit.blocks:
            block.norm_cross_attn = nn.Identity()
        self.adopt(network)

    @property
    def fixed_shape(self) -> bool:
        return True
