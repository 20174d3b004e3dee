"""SegResNetVAE (Table 1): MONAI's network, its VAE branch answering through `Output.extras` instead of a loss."""

from __future__ import annotations

import torch
from torch import Tensor

from brats_ablate.models.encoder import Encoder
from brats_ablate.models.monai_model import MonaiModel
from brats_ablate.models.output import Output


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

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int,
        patch_shape: tuple[int, int, int],
        encoder: Encoder,
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
        self.adopt(network)

    def forward(self, x: Tensor) -> Output:
        encoded, skips = self.network.encode(x)
        logits = self.network.decode(encoded, skips[::-1])
        return Output([logits], self._reconstruct(encoded) if self.training else {})

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
