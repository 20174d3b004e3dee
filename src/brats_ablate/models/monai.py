"""What the networks that are MONAI's share: one head, our norms for theirs, our initial weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from brats_ablate.errors import ConfigError
from brats_ablate.models.base import SegmentationModel, SegmentationOutput, initialize
from brats_ablate.models.encoder import EncoderConfig
from brats_ablate.models.norm import replace_norms


class MonaiModel(SegmentationModel):
    """A network of MONAI's; its subclass makes it and hands it to `adopt`.

    Args: `patch_shape` and `divisor` as `SegmentationModel`; `heads`: 1, as there are no lower heads to supervise.

    Raises:
        ConfigError: if the patch is not divisible by `divisor`, or for more than one head.
    """

    network: Any
    """MONAI's, which has no types."""

    def __init__(self, patch_shape: tuple[int, int, int], divisor: tuple[int, int, int], heads: int) -> None:
        super().__init__(patch_shape, divisor)
        if heads != 1:
            raise ConfigError(f"{type(self).__name__} has no lower heads to supervise; set supervision=none")

    def set_network(self, network: nn.Module) -> None:
        """Make `network` this model's: with norms that keep the layout, and weights initialised as everywhere."""
        replace_norms(network)
        self.network = network
        initialize(self)

    def forward(self, x: Tensor) -> SegmentationOutput:
        return SegmentationOutput([self.network(x)], {})


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

    size_divisor = (16, 16, 16)
    fixed_shape = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int,
        patch_shape: tuple[int, int, int],
        encoder: EncoderConfig,
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
        self.set_network(network)


class SegResNetVAE(MonaiModel):
    """SegResNetVAE: (B, C, X, Y, Z) -> logits (paper section 2.3, Myronenko, arXiv:1810.11654).

    In training, extras hold "vae_reconstruction" (B, C, X, Y, Z), "vae_mean" and "vae_log_var" (B, latent); the
    branch is not computed in evaluation. As in MONAI, it shares the decoder's upsampling blocks, which Myronenko
    has twice. Unlike MONAI's, it always estimates the spread (so that no parameter is left without a gradient),
    as a log-variance.

    Args:
        in_channels, out_channels: C, and the number of regions.
        heads: 1, as there are no lower heads.
        patch_shape: (X, Y, Z), each divisible by 16; in evaluation any other such shape will do.
        encoder: its width scales `filters`; its channels do not matter here.
        filters: channels of the finest level, doubled on each of three below; by width in steps of 8.
        latent: size of the VAE's mean; Myronenko's and the paper's 256 are 128 means and 128 spreads.

    Raises:
        ConfigError: if a patch axis is not divisible by 16, or for more than one head.
    """

    size_divisor = (16, 16, 16)
    aux_outputs = ("vae_reconstruction", "vae_mean", "vae_log_var")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int,
        patch_shape: tuple[int, int, int],
        encoder: EncoderConfig,
        filters: int,
        latent: int,
    ) -> None:
        super().__init__(patch_shape, (16, 16, 16), heads)
        from monai.networks import nets  # all of MONAI loads with it: seconds

        network = nets.SegResNetVAE(
            input_image_size=self.patch_shape,
            vae_estimate_std=True,
            vae_nz=latent,
            init_filters=encoder.scale(filters),
            in_channels=in_channels,
            out_channels=out_channels,
        )
        self.set_network(network)

    def forward(self, x: Tensor) -> SegmentationOutput:
        encoded, skips = self.network.encode(x)
        logits = self.network.decode(encoded, skips[::-1])
        return SegmentationOutput([logits], self._reconstruct(encoded) if self.training else {})

    def _reconstruct(self, encoded: Tensor) -> dict[str, Tensor]:
        net = self.network
        flat = net.vae_down(encoded).contiguous().flatten(1)
        mean, log_var = net.vae_fc1(flat).float(), net.vae_fc2(flat).float()
        sample = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        x = net.act_mod(net.vae_fc3(sample)).reshape(-1, net.smallest_filters, *net.fc_insize)
        x = net.vae_fc_up_sample(x)
        for upsample, block in zip(net.up_samples, net.up_layers, strict=True):
            x = block(upsample(x))
        return {"vae_reconstruction": net.vae_conv_final(x), "vae_mean": mean, "vae_log_var": log_var}


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

    size_divisor = (32, 32, 32)
    min_bottom_voxels = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int,
        patch_shape: tuple[int, int, int],
        encoder: EncoderConfig,
        feature_size: int,
    ) -> None:
        super().__init__(patch_shape, (32, 32, 32), heads)
        from monai.networks import nets  # all of MONAI loads with it: seconds

        self.set_network(nets.SwinUNETR(in_channels, out_channels, feature_size=encoder.scale(feature_size, 12)))


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

    per_stage = ("model.blocks", "model.expansion_ratios")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int,
        patch_shape: tuple[int, int, int],
        encoder: EncoderConfig,
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
        self.set_network(network)
