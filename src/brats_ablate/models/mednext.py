"""MedNeXt: a contender of today, beyond the paper; MONAI's network."""

from __future__ import annotations

from brats_ablate.models.encoder import Encoder
from brats_ablate.models.monai_model import MonaiModel


class MedNeXt(MonaiModel):
    """MedNeXt: (B, C, X, Y, Z) -> logits (Roy et al., arXiv:2303.09975).

    Args:
        in_channels, out_channels: C, and the number of regions.
        heads: 1; its own lower heads are left out.
        patch_shape: (X, Y, Z), each divisible by 2 to the number of downsamplings; so may be any input.
        encoder: its width scales `filters`; its channels do not matter here.
        filters: channels of the finest level, doubled on each below.
        kernel_size: of the depthwise convolutions.
        blocks, expansion_ratios: per level, finest first, the bottleneck last; the decoder mirrors them.

    Raises:
        ConfigError: if the patch does not fit the depth, or for more than one head.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int,
        patch_shape: tuple[int, int, int],
        encoder: Encoder,
        filters: int,
        kernel_size: int,
        blocks: list[int],
        expansion_ratios: list[int],
    ) -> None:
        step = 2 ** (len(blocks) - 1)
        super().__init__(patch_shape, (step, step, step), heads)
        from monai.networks import nets  # all of MONAI loads with it: seconds

        network = nets.MedNeXt(
            init_filters=encoder.scale(filters),
            in_channels=in_channels,
            out_channels=out_channels,
            kernel_size=kernel_size,
            use_residual_connection=True,
            blocks_down=blocks[:-1],
            blocks_bottleneck=blocks[-1],
            blocks_up=blocks[-2::-1],
            encoder_expansion_ratio=expansion_ratios[:-1],
            bottleneck_expansion_ratio=expansion_ratios[-1],
            decoder_expansion_ratio=expansion_ratios[-2::-1],
        )
        self.adopt(network)
