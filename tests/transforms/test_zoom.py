from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from brats_ablate.errors import ConfigError
from brats_ablate.runtime.random import rng_for
from brats_ablate.transforms.zoom import (
    Zoom,
    ZoomAsReleased,
    cubic_matrix,
    resized_crop_coordinates,
    source_coordinates,
)


def drawn_factor(sample_key: tuple[int, int, int], low: float, high: float) -> float:
    rng = rng_for(*sample_key, "zoom")
    rng.random()
    return rng.uniform(low, high)


def keys(t: float) -> float:
    """Keys's kernel, a = -1/2, straight from the article's equation 15."""
    t = abs(t)
    if t < 1:
        return 1.5 * t**3 - 2.5 * t**2 + 1
    return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0


def test_a_factor_of_one_changes_nothing(make_batch) -> None:
    batch, expected = make_batch(), make_batch()
    Zoom(p=1.0, factor=[1.0, 1.0])(batch)
    assert torch.equal(batch.images, expected.images)
    assert torch.equal(batch.labels, expected.labels)
    assert torch.equal(batch.foreground, expected.foreground)


def test_the_cubic_matrix_holds_keys_kernel() -> None:
    coordinates = source_coordinates(9, 1.3)
    weights = cubic_matrix(coordinates)
    for i, s in enumerate(coordinates):
        expected = np.array([keys(s - j) for j in range(9)])
        np.testing.assert_allclose(weights[i], expected / expected.sum(), atol=1e-12)


def test_the_cubic_agrees_with_torch_bicubic_resize_of_the_crop() -> None:
    # With antialias, torch's bicubic has a = -1/2 as well; away from the border the crop's edge does not matter.
    n, factor = 24, 2.0
    image = torch.randn(1, 1, n, n, generator=torch.Generator().manual_seed(5))
    crop = image[:, :, n // 4 : -n // 4, n // 4 : -n // 4]
    expected = torch.nn.functional.interpolate(crop, size=(n, n), mode="bicubic", antialias=True)[0, 0]
    weights = torch.from_numpy(cubic_matrix(source_coordinates(n, factor))).float()
    zoomed = weights @ image[0, 0] @ weights.T
    torch.testing.assert_close(zoomed[4:-4, 4:-4], expected[4:-4, 4:-4], atol=1e-5, rtol=0)


def test_a_quadratic_image_is_sampled_exactly(make_batch) -> None:
    shape = (16, 20, 24)

    def f(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return 0.02 * x**2 - 0.01 * y * z + 0.03 * z**2 + 0.1 * x - 0.2 * y + 1

    batch = make_batch(samples=1, shape=shape)
    batch.images[0] = torch.from_numpy(f(*np.indices(shape))).float()
    Zoom(p=1.0, factor=[1.2, 1.4])(batch)
    factor = drawn_factor(batch.sample_keys[0], 1.2, 1.4)
    coordinates = np.meshgrid(*(source_coordinates(n, factor) for n in shape), indexing="ij")
    for channel in batch.images[0].numpy():
        np.testing.assert_allclose(channel, f(*coordinates), atol=2e-5)


def test_labels_and_foreground_are_the_nearest_voxels(make_batch) -> None:
    batch, before = make_batch(samples=3, shape=(16, 20, 24)), make_batch(samples=3, shape=(16, 20, 24))
    Zoom(p=1.0, factor=[1.0, 1.4])(batch)
    for b, sample_key in enumerate(batch.sample_keys):
        factor = drawn_factor(sample_key, 1.0, 1.4)
        offset = [(n - 1) / 2 * (1 - 1 / factor) for n in (16, 20, 24)]
        for after, source in (
            (batch.labels[b], before.labels[b]),
            (batch.foreground[b, 0], before.foreground[b, 0]),
        ):
            volume = source.numpy().astype(np.uint8)
            expected = ndimage.affine_transform(volume, [1 / factor] * 3, offset, order=0, mode="nearest")
            np.testing.assert_array_equal(after.numpy(), expected)


def test_images_and_labels_stay_aligned(make_batch) -> None:
    # An image that equals its labels: after zooming, rounding its interpolation inside flat regions gives the labels.
    batch = make_batch(samples=1, shape=(16, 20, 24))
    blocks = torch.zeros(16, 20, 24, dtype=torch.uint8)
    blocks[3:10, 5:14, 8:19] = 3
    batch.labels[0], batch.images[0] = blocks, blocks.float()
    Zoom(p=1.0, factor=[1.3, 1.3])(batch)
    zoomed = batch.labels[0].float()
    flat = torch.from_numpy(ndimage.maximum_filter(zoomed.numpy(), 5) == ndimage.minimum_filter(zoomed.numpy(), 5))
    assert flat.float().mean() > 0.3
    torch.testing.assert_close(batch.images[0, 2][flat], zoomed[flat], atol=1e-5, rtol=0)
    assert set(batch.labels.unique().tolist()) == {0, 3}


def test_a_factor_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"zoom\.factor"):
        Zoom(p=0.15, factor=[0.7, 1.0])


@pytest.mark.parametrize(("n", "crop"), [(24, 17), (24, 18), (16, 16), (9, 7)])
def test_as_released_the_crop_is_resized_by_keys_kernel_with_its_border_repeated(n: int, crop: int) -> None:
    values = np.random.default_rng(0).random(n)
    start = math.floor((n - crop) / 2 + 0.5)
    padded = np.pad(values[start : start + crop], 4, mode="edge")
    expected, nearest = [], []
    for i in range(n):
        position = (i + 0.5) * crop / n - 0.5
        taps = range(int(np.floor(position)) - 1, int(np.floor(position)) + 3)
        expected.append(sum(keys(position - j) * padded[j + 4] for j in taps))
        nearest.append(values[start + int((i + 0.5) * crop / n)])
    found = resized_crop_coordinates(n, crop)
    np.testing.assert_allclose(found.cubic @ values, expected, atol=1e-12)
    np.testing.assert_array_equal(values[found.nearest.astype(int)], nearest)


def test_as_released_nearest_agrees_with_torch() -> None:
    values = torch.arange(24.0)
    for crop in range(17, 25):
        start = math.floor((24 - crop) / 2 + 0.5)
        inner = values[start : start + crop][None, None]
        expected = torch.nn.functional.interpolate(inner, size=24, mode="nearest-exact")[0, 0]
        found = torch.from_numpy(resized_crop_coordinates(24, crop).nearest)
        assert torch.equal(values[found.long()], expected)


@pytest.mark.parametrize(("n", "side", "first"), [(128, 0.999, 1), (128, 0.99, 1), (128, 0.98, 2), (128, 1.0, 0)])
def test_as_released_the_side_is_truncated_and_the_start_rounded_by_hand(
    make_batch, n: int, side: float, first: int
) -> None:
    """Crops of 127, 126, 125 and 128 voxels start at .5, 1, 1.5 and 0, rounded away from zero."""
    batch = make_batch(samples=1, shape=(n, 2, 2))
    batch.labels[0] = torch.arange(n, dtype=torch.uint8)[:, None, None]
    ZoomAsReleased(p=1.0, side=[side, side])(batch)
    assert batch.labels[0, 0, 0, 0] == first


def test_as_released_every_axis_is_cropped_to_whole_voxels(make_batch) -> None:
    shape = (16, 20, 24)
    batch, before = make_batch(samples=6, shape=shape), make_batch(samples=6, shape=shape)
    ZoomAsReleased(p=1.0, side=[0.7, 1.0])(batch)
    for b, sample_key in enumerate(batch.sample_keys):
        side = drawn_factor(sample_key, 0.7, 1.0)
        x, y, z = (resized_crop_coordinates(n, math.trunc(side * n)) for n in shape)
        expected = np.einsum("xi,yj,zk,cijk->cxyz", x.cubic, y.cubic, z.cubic, before.images[b].numpy(), optimize=True)
        np.testing.assert_allclose(batch.images[b].numpy(), expected, atol=1e-5)
        index = np.ix_(*(axis.nearest.astype(int) for axis in (x, y, z)))
        np.testing.assert_array_equal(batch.labels[b].numpy(), before.labels[b].numpy()[index])


@pytest.mark.parametrize("side", [[0.0, 1.0], [0.7, 1.1], [0.9, 0.8]])
def test_as_released_a_side_that_is_no_crop_is_refused(side: list[float]) -> None:
    with pytest.raises(ConfigError, match=r"augment\.transforms\.zoom\.side="):
        ZoomAsReleased(p=0.15, side=side)
