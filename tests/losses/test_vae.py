"""The VAE terms against the normal distribution's KL divergence and a hand-computed case."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from brats_ablate.losses.vae import NoAuxiliary, VAELoss


def vae_outputs() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    images = torch.randn(2, 4, 5, 6, 7, generator=generator)
    aux = {
        "vae_reconstruction": torch.randn(2, 4, 5, 6, 7, generator=generator),
        "vae_mean": torch.randn(2, 8, generator=generator),
        "vae_log_var": torch.randn(2, 8, generator=generator),
    }
    return aux, images


def test_none_has_no_terms() -> None:
    assert NoAuxiliary()(*vae_outputs()) == {}


def test_kl_is_twice_the_divergence_from_the_standard_normal_per_voxel() -> None:
    aux, images = vae_outputs()
    posterior = Normal(aux["vae_mean"], torch.exp(aux["vae_log_var"] / 2))
    divergence = kl_divergence(posterior, Normal(torch.zeros(8), torch.ones(8))).sum(1).mean()
    term = VAELoss(0.1, 0.1)(aux, images)["vae_kl"]
    torch.testing.assert_close(term, 0.1 * 2 * divergence / (5 * 6 * 7))


def test_reconstruction_is_the_weighted_mean_square() -> None:
    images = torch.zeros(1, 1, 1, 1, 2)
    aux = {
        "vae_reconstruction": torch.tensor([1.0, 3.0]).view(1, 1, 1, 1, 2),
        "vae_mean": torch.zeros(1, 4),
        "vae_log_var": torch.zeros(1, 4),
    }
    terms = VAELoss(0.1, 0.1)(aux, images)
    assert terms["vae_reconstruction"].item() == pytest.approx(0.1 * (1 + 9) / 2)
    assert terms["vae_kl"].item() == 0


def test_reconstruction_of_another_shape_is_refused() -> None:
    aux, images = vae_outputs()
    with pytest.raises(ValueError, match="reconstruction"):
        VAELoss(0.1, 0.1)(aux, images[:, :3])
