"""MONAI's networks as `SegmentationModel`: one head, our norms in place of theirs, our initial weights.

Arguments that a class does not describe are those of `SegmentationModel`.
"""

from __future__ import annotations

from typing import Any

import torch
from monai.networks import nets
from torch import Tensor, nn

from brats_ablate.errors import ConfigError
from brats_ablate.models.base import SegmentationModel, SegmentationOutput, initialize
from brats_ablate.models.encoder import EncoderConfig
from brats_ablate.models.norm import replace_norms


class MonaiModel(SegmentationModel):
    """Wrapper of a MONAI network, which the subclass builds and passes to `set_network`.

    `n_heads` must be 1, as there are no lower heads to supervise. Of `encoder`, only the width matters: it scales the
    subclass's own channels.

    Raises:
        ConfigError: the patch is not divisible by `size_divisor`, or there is more than one head.
    """

    network: Any
    """MONAI's network, which is untyped."""

    def __init__(
        self, patch_shape: tuple[int, int, int], n_heads: int, size_divisor: tuple[int, int, int] | None = None
    ) -> None:
        super().__init__(patch_shape, size_divisor)
        if n_heads != 1:
            raise ConfigError(f"{type(self).__name__} has no lower heads to supervise; set supervision=none")

    def set_network(self, network: nn.Module) -> None:
        """Store `network` with layout-preserving norms and weights initialized like those of every model."""
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
        patch_shape: fixed by the positional embedding.
        feature_size: channels of the finest decoder stage, scaled by the encoder's width.
        hidden_size: of a token, scaled likewise.
        num_heads: attention heads of each layer.
    """

    size_divisor = (16, 16, 16)
    fixed_shape = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        n_heads: int,
        patch_shape: tuple[int, int, int],
        encoder: EncoderConfig,
        feature_size: int,
        hidden_size: int,
        num_heads: int,
    ) -> None:
        super().__init__(patch_shape, n_heads)
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

    In training, `aux` contains "vae_reconstruction" (B, C, X, Y, Z), "vae_mean" and "vae_log_var" (B, latent). In
    evaluation the branch is not computed. As in MONAI, it shares the decoder's upsampling blocks, which Myronenko has
    twice. Unlike MONAI's, it always estimates the spread, as a log-variance, so that every parameter has a gradient.

    Args:
        filters: channels of the finest stage, doubled in each of three coarser ones; scaled in steps of 8.
        latent: size of the VAE's mean; Myronenko's and the paper's 256 are 128 means and 128 spreads.
    """

    size_divisor = (16, 16, 16)
    aux_outputs = ("vae_reconstruction", "vae_mean", "vae_log_var")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        n_heads: int,
        patch_shape: tuple[int, int, int],
        encoder: EncoderConfig,
        filters: int,
        latent: int,
    ) -> None:
        super().__init__(patch_shape, n_heads)
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
        feature_size: channels of the finest stage, a multiple of 12.
    """

    size_divisor = (32, 32, 32)
    min_bottom_voxels = 2
    traces_any_shape = False  # its attention masks are computed from the shape

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        n_heads: int,
        patch_shape: tuple[int, int, int],
        encoder: EncoderConfig,
        feature_size: int,
    ) -> None:
        super().__init__(patch_shape, n_heads)
        self.set_network(nets.SwinUNETR(in_channels, out_channels, feature_size=encoder.scale(feature_size, 12)))


class MedNeXt(MonaiModel):
    """MedNeXt: (B, C, X, Y, Z) -> logits (Roy et al., arXiv:2303.09975).

    MedNeXt's own lower heads are left out.

    Args:
        filters: channels of the finest stage, doubled in each coarser one.
        kernel_size: of the depthwise convolutions.
        blocks: per stage, finest first, the bottleneck last; the decoder mirrors them.
        expansion_ratios: per stage, as `blocks`.
    """

    per_stage = ("model.blocks", "model.expansion_ratios")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        n_heads: int,
        patch_shape: tuple[int, int, int],
        encoder: EncoderConfig,
        filters: int,
        kernel_size: int,
        blocks: list[int],
        expansion_ratios: list[int],
    ) -> None:
        step = 2 ** (len(blocks) - 1)
        super().__init__(patch_shape, n_heads, (step, step, step))
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
