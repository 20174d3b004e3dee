"""Checks that the benchmark compares equivalent computations, for the peers that are test dependencies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from brats_ablate.cases import Batch
from brats_ablate.tuning.threshold_grid import ThresholdGrid
from dataset import Dataset
from measuring import Options
from networks import MONAI, OURS, build
from one_step import measure
from parts import step
from parts.data import paper_chain
from parts.threshold import by_histogram, by_labeling, by_masks
from peers.monai_transforms import paper_transforms


def nested_spheres() -> np.ndarray:
    x, y, z = np.ogrid[:20, :24, :28]
    radius = np.sqrt((x - 9) ** 2 + (y - 12) ** 2 + (z - 15) ** 2)
    return ((radius < 9).astype(np.uint8) + (radius < 6) + (radius < 3)).astype(np.uint8)


def test_three_threshold_searches_agree_at_every_grid_point() -> None:
    labels = nested_spheres()
    probabilities = Dataset.probabilities(labels, seed=0)
    grid = ThresholdGrid({"WT": (0.3, 0.5, 0.7), "TC": (0.4, 0.6), "ET": (0.45,)})
    dice = by_histogram(probabilities, labels, grid)
    assert np.ptp(dice) > 0
    np.testing.assert_allclose(by_labeling(probabilities, labels, grid), dice, rtol=1e-13)
    np.testing.assert_allclose(by_masks(probabilities, labels, grid), dice, rtol=1e-13)


@pytest.mark.parametrize("width", [1.0, 0.25])
def test_networks_have_the_same_convolutions(width: float) -> None:
    ours, monai = build(OURS, 32, width), build(MONAI, 32, width)

    def of(model: torch.nn.Module, kind: type[torch.nn.Module]) -> list[tuple[int, ...]]:
        return sorted(tuple(m.weight.shape) for m in model.modules() if isinstance(m, kind))  # type: ignore[arg-type]

    for kind in (torch.nn.Conv3d, torch.nn.ConvTranspose3d):
        assert of(ours, kind) == of(monai, kind)


@pytest.mark.slow
def test_one_step_returns_times_and_memory() -> None:
    result = measure("ours", "fp32", False, keep_memory=False, batch=1, patch=64, width=0.25)
    assert result["step_s"] > result["forward_s"] > 0
    assert result["memory_gib"] > 0.1


def moments(images: torch.Tensor) -> list[float]:
    """Return mean, SD and roughness (mean squared difference of neighbors) of one augmented patch."""
    return [float(images.mean()), float(images.std()), float(images.diff(dim=-1).square().mean())]


def test_a_contender_whose_package_is_missing_on_a_gpu_is_skipped_and_the_others_are_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def measured(module: str, request: dict[str, Any]) -> dict[str, Any]:
        if request["words"][0] == "nnunet":
            return {"skipped": "dynamic-network-architectures is not installed"}
        return {"step_ms": 20.0, "forward_ms": 10.0, "peak_gib": 4.0}

    monkeypatch.setattr(step, "run_isolated", measured)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    tables = step.measure(Options(tmp_path, None, rounds=1, quick=False))
    names = ["ours, compiled", "ours", f"{MONAI}, compiled", MONAI]
    assert [[row.name for row in table.rows] for table in tables] == [names, names]
    assert capsys.readouterr().out.count("skipped, dynamic-network-architectures is not installed") == 2


@pytest.mark.slow
def test_augmentation_has_the_same_distribution_as_in_monai() -> None:
    """Compare means (within five standard errors) and distributions of the moments over 3,000 patches each.

    The patch is smooth and fades to 0 before its border. This hides the differences in interpolation (linear or cubic)
    and border handling.
    """
    n = 20
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n),) * 3, indexing="ij")
    bump = torch.exp(-sum(a**2 for a in axes) / 0.12)
    patch = torch.stack([bump * (1 + 0.2 * c) for c in range(4)])
    labels = torch.zeros(n, n, n, dtype=torch.uint8)
    ours, chain, monai, count = [], paper_chain(), paper_transforms(), 3000
    monai.set_random_state(0)
    np.random.seed(0)
    peer = []
    for index in range(count):
        batch = Batch(
            patch.clone()[None],
            torch.ones(1, 1, n, n, n, dtype=torch.bool),
            labels.clone()[None],
            [(0, 0, index)],
        )
        ours.append(moments(chain(batch).images[0]))
        peer.append(moments(torch.as_tensor(monai({"image": patch.clone(), "label": labels[None].clone()})["image"])))
    x, y = np.array(ours), np.array(peer)
    error = np.sqrt((x.var(axis=0) + y.var(axis=0)) / count)
    assert (np.abs(x.mean(axis=0) - y.mean(axis=0)) < 5 * error).all()
    for x_moment, y_moment in zip(x.T.round(3), y.T.round(3), strict=True):
        assert ks_2samp(x_moment, y_moment).pvalue > 1e-3
