"""Auxiliary terms: losses on the outputs of a network other than its logits (`SegmentationOutput.aux`)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


class NoAuxiliary:
    """Adds no terms to the region loss."""

    aux_inputs = ()

    def __call__(self, aux: dict[str, Tensor], images: Tensor) -> dict[str, Tensor]:
        """Return no terms."""
        return {}


@dataclass(frozen=True)
class VAELoss:
    """Reconstruction and KL terms of a variational branch (Myronenko 2018, arXiv:1810.11654).

    Loss = segmentation + 0.1 · L2 + 0.1 · KL, KL = 1/N Σ (μ² + σ² - log σ² - 1), N the voxels of an image. Myronenko
    writes L2 as a plain sum of squares; here it is the mean over voxels and channels, so that its weight does not
    depend on the patch. MONAI's `SegResNetVAE` uses half the mean over the latent as KL.

    Raises:
        ValueError: a weight is negative.
    """

    aux_inputs = ("vae_reconstruction", "vae_mean", "vae_log_var")

    reconstruction_weight: float
    kl_weight: float

    def __post_init__(self) -> None:
        if min(self.reconstruction_weight, self.kl_weight) < 0:
            raise ValueError(f"weights must not be negative, got {self.reconstruction_weight}, {self.kl_weight}")

    def __call__(self, aux: dict[str, Tensor], images: Tensor) -> dict[str, Tensor]:
        """Compute the two weighted terms, in float32, averaged over the batch.

        `aux` has `vae_reconstruction` (B, C, X, Y, Z) of the input `images`, `vae_mean` and `vae_log_var` (B, latent).

        Raises:
            ValueError: the reconstruction does not have the images' shape.
        """
        reconstruction = aux["vae_reconstruction"].float()
        if reconstruction.shape != images.shape:
            raise ValueError(f"reconstruction {tuple(reconstruction.shape)} of images {tuple(images.shape)}")
        mean, log_var = aux["vae_mean"].float(), aux["vae_log_var"].float()
        squared_error = (reconstruction - images.float()).square().mean()
        voxels = images[0, 0].numel()
        divergence = (mean.square() + torch.exp(log_var) - log_var - 1).flatten(1).sum(1).mean() / voxels
        return {"vae_reconstruction": self.reconstruction_weight * squared_error, "vae_kl": self.kl_weight * divergence}
