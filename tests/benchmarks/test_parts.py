"""What the benchmark compares must be the same thing: checked here where the peer is a test dependency already."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from brats_ablate.cases import Batch
from brats_ablate.tuning.threshold_grid import ThresholdGrid
from material import Material
from networks import MONAI, OURS, build
from one_step import measure
from parts.data import paper_chain
from parts.startup import COMMANDS, heavy_imports, write_runs
from parts.threshold import by_histogram, by_labelling, by_masks
from peers.monai_transforms import paper_transforms


def benchmark_depth() -> np.ndarray:
    x, y, z = np.ogrid[:20, :24, :28]
    radius = np.sqrt((x - 9) ** 2 + (y - 12) ** 2 + (z - 15) ** 2)
    return ((radius < 9).astype(np.uint8) + (radius < 6) + (radius < 3)).astype(np.uint8)


def test_the_three_ways_through_the_threshold_grid_agree_in_every_point() -> None:
    depth = benchmark_depth()
    probabilities = Material.probabilities(depth, seed=0)
    grid = ThresholdGrid((0.3, 0.5, 0.7), (0.4, 0.6), (0.45,))
    found = by_histogram(probabilities, depth, grid)
    assert np.ptp(found) > 0
    np.testing.assert_allclose(by_labelling(probabilities, depth, grid), found, rtol=1e-13)
    np.testing.assert_allclose(by_masks(probabilities, depth, grid), found, rtol=1e-13)


@pytest.mark.parametrize("width", [1.0, 0.25])
def test_the_networks_have_the_same_convolutions(width: float) -> None:
    ours, monai = build(OURS, 32, width), build(MONAI, 32, width)

    def of(model: torch.nn.Module, kind: type[torch.nn.Module]) -> list[tuple[int, ...]]:
        return sorted(tuple(m.weight.shape) for m in model.modules() if isinstance(m, kind))  # type: ignore[arg-type]

    for kind in (torch.nn.Conv3d, torch.nn.ConvTranspose3d):
        assert of(ours, kind) == of(monai, kind)


def test_one_step_measures_the_network_it_is_asked_for() -> None:
    found = measure("ours", "fp32", False, keep_memory=False, compiled=False, batch=1, patch=64, width=0.25)
    assert found["step_s"] > found["forward_s"] > 0
    assert found["memory_gib"] > 0.1


def moments(images: torch.Tensor) -> list[float]:
    """Mean, standard deviation and roughness (mean squared difference of neighbours) of one augmented patch."""
    return [float(images.mean()), float(images.std()), float(images.diff(dim=-1).square().mean())]


@pytest.mark.slow
def test_ours_and_monais_augmentations_have_the_same_distribution() -> None:
    """Over 3,000 patches each, the means of the moments agree within five standard errors, and their distributions.

    The patch is smooth and fades to 0 before its border, so that linear and cubic interpolation and the handling of
    the border, in which the two differ, do not show.
    """
    n = 20
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n),) * 3, indexing="ij")
    bump = torch.exp(-sum(a**2 for a in axes) / 0.12)
    patch = torch.stack([bump * (1 + 0.2 * c) for c in range(4)])
    labels = torch.zeros(n, n, n, dtype=torch.uint8)
    ours, chain, monai, count = [], paper_chain(), paper_transforms(), 3000
    monai.set_random_state(0)
    np.random.seed(0)
    theirs = []
    for index in range(count):
        batch = Batch(
            patch.clone()[None],
            torch.ones(1, 1, n, n, n, dtype=torch.bool),
            labels.clone()[None],
            [(0, 0, index)],
            ["a"],
        )
        ours.append(moments(chain(batch).images[0]))
        theirs.append(moments(torch.as_tensor(monai({"image": patch.clone(), "label": labels[None].clone()})["image"])))
    one, other = np.array(ours), np.array(theirs)
    error = np.sqrt((one.var(axis=0) + other.var(axis=0)) / count)
    assert (np.abs(one.mean(axis=0) - other.mean(axis=0)) < 5 * error).all()
    for mine, his in zip(one.T.round(3), other.T.round(3), strict=True):
        assert ks_2samp(mine, his).pvalue > 1e-3


@pytest.mark.parametrize("command", list(COMMANDS))
def test_what_needs_no_network_imports_none(command: str, tmp_path: Path) -> None:
    write_runs(tmp_path / "brats21" / "runs")
    assert heavy_imports(COMMANDS[command][0], tmp_path) == []
