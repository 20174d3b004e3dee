"""Label schemes, sliding window and post-processing against brute force, on drawn inputs."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from schemes import BRATS2021
from scipy.ndimage import generate_binary_structure, label

from brats_ablate.config.data_options import known_schemes
from brats_ablate.inference.postprocess import SmallComponents
from brats_ablate.inference.sliding_window import SlidingWindow, windows
from brats_ablate.labels.scheme import LabelScheme

MANY = settings(max_examples=60, deadline=None, derandomize=True)
SCHEMES = st.sampled_from([BRATS2021, *known_schemes()])
SHAPES = st.tuples(*[st.integers(1, 7)] * 3)


def drawn(scheme: LabelScheme, shape: tuple[int, int, int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, len(scheme.tissue_names), shape).astype(np.uint8)


@MANY
@given(SCHEMES, SHAPES, st.integers(0, 99))
def test_values_regions_and_probabilities_return_the_label_map(
    scheme: LabelScheme, shape: tuple[int, int, int], seed: int
) -> None:
    encoded = drawn(scheme, shape, seed)
    np.testing.assert_array_equal(scheme.encode(scheme.decode(encoded)), encoded)
    regions = scheme.to_regions_np(encoded)
    for (_, members), mask in zip(scheme.regions.items(), regions, strict=True):
        brute = [[[scheme.tissue_names[v] in members for v in row] for row in plane] for plane in encoded]
        np.testing.assert_array_equal(mask, np.array(brute))
    np.testing.assert_array_equal(scheme.to_regions(torch.from_numpy(encoded)[None])[0].numpy(), regions)
    again = scheme.labels_from_probabilities(regions.astype(np.float16), [0.5] * len(regions))
    np.testing.assert_array_equal(again, encoded)


@MANY
@given(st.tuples(*[st.integers(2, 9)] * 3), st.tuples(*[st.integers(1, 5)] * 3), st.sampled_from([0.0, 0.25, 0.5, 0.9]))
def test_windows_lie_inside_and_cover_every_voxel(
    shape: tuple[int, int, int], patch: tuple[int, int, int], overlap: float
) -> None:
    patch = tuple(min(p, s) for p, s in zip(patch, shape, strict=True))  # type: ignore[assignment]
    covered = np.zeros(shape, dtype=int)
    for window in windows(shape, patch, overlap):
        assert covered[window].shape == patch
        covered[window] += 1
    assert covered.min() >= 1


@MANY
@given(SHAPES, st.tuples(*[st.integers(1, 5)] * 3), st.integers(0, 99))
def test_a_pointwise_network_gives_the_same_by_windows(
    shape: tuple[int, int, int], patch: tuple[int, int, int], seed: int
) -> None:
    volume = torch.randn(1, 2, *shape, generator=torch.Generator().manual_seed(seed))

    def network(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x.sum(1, keepdim=True), x[:, :1] * 3], 1)

    blended = SlidingWindow(patch, 0.5, 0.125)(network, volume)
    torch.testing.assert_close(blended, network(volume), rtol=1e-5, atol=1e-5)


@MANY
@given(SHAPES, st.integers(0, 99), st.integers(1, 12), st.sampled_from([6, 18, 26]))
def test_small_components_by_brute_force(shape: tuple[int, int, int], seed: int, below: int, connectivity: int) -> None:
    encoded = drawn(BRATS2021, shape, seed)
    probabilities = np.random.default_rng(seed).random((3, *shape)).astype(np.float16)
    rule = SmallComponents(below, 0.5, connectivity)  # type: ignore[arg-type]
    expected = encoded.copy()
    structure = generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    components, count = label(encoded == 3, structure)
    for k in range(1, count + 1):
        mask = components == k
        if mask.sum() < below and probabilities[2][mask].astype(float).mean() < 0.5:
            expected[mask] = 2
    np.testing.assert_array_equal(rule(encoded, probabilities, BRATS2021), expected)
