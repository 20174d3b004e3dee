from __future__ import annotations

import math

import pytest
import torch

from brats_ablate.inference.average import AVERAGES
from brats_ablate.inference.sliding_window import SlidingWindow
from brats_ablate.inference.tta import FlipTTA


def logits_of(volume: torch.Tensor) -> torch.Tensor:
    """A network whose output depends on the position in its window, so that windows and flips disagree."""
    ramp = torch.linspace(-4, 4, volume.shape[2])[:, None, None]
    return torch.cat([volume + ramp, volume - 2 * ramp, 3 * volume], dim=1)


@pytest.mark.parametrize("name", AVERAGES)
def test_windows_and_flips_are_averaged_as_named(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    volume = torch.randn(1, 1, 6, 4, 4, generator=generator)
    window = SlidingWindow((4, 4, 4), overlap=0.5, sigma_scale=0.125)
    average = AVERAGES[name]
    found = average.to_probabilities(
        FlipTTA()(lambda v: window(lambda patch: average.of_logits(logits_of(patch)), v), volume)
    )

    weight = window.weight
    total = torch.zeros(1, 3, 6, 4, 4, dtype=torch.float64)
    for flips in [[a for a in (2, 3, 4) if bits >> (a - 2) & 1] for bits in range(8)]:
        flipped, part, weights = volume.flip(flips), torch.zeros(1, 3, 6, 4, 4), torch.zeros(6, 4, 4)
        for start in (0, 2):
            patch = logits_of(flipped[:, :, start : start + 4])
            part[:, :, start : start + 4] += weight * (patch.sigmoid() if name == "probabilities" else patch)
            weights[start : start + 4] += weight
        total += (part / weights).flip(flips)
    expected = total / 8 if name == "probabilities" else (total / 8).sigmoid()
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=0)


def test_the_two_averages_of_a_sure_and_an_unsure_network_by_hand() -> None:
    logits = [6.0, -2.0]
    means = {}
    for name, average in AVERAGES.items():
        values = [average.of_logits(torch.tensor(value)) for value in logits]
        means[name] = average.to_probabilities(torch.stack(values).mean()).item()
    assert means["logits"] == pytest.approx(1 / (1 + math.exp(-2)))
    assert means["probabilities"] == pytest.approx((1 / (1 + math.exp(-6)) + 1 / (1 + math.exp(2))) / 2)
