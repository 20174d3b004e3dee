from __future__ import annotations

import numpy as np
import torch

from brats_ablate.transforms.flip import Flip, flip, flip_samples


def test_a_flip_along_spatial_axes_is_that_of_numpy() -> None:
    sample = torch.arange(2 * 3 * 4 * 5).view(2, 3, 4, 5)
    for axes in ((), (0,), (1, 2), (0, 1, 2)):
        expected = np.flip(sample.numpy(), [axis + 1 for axis in axes])
        np.testing.assert_array_equal(flip(sample, axes).numpy(), expected)
        assert torch.equal(flip(flip(sample, axes), axes), sample)


def test_each_sample_of_a_batch_is_flipped_along_its_own_axes_into_a_copy() -> None:
    samples = torch.arange(3 * 2 * 3 * 4).view(3, 2, 3, 4)
    before = samples.clone()
    flipped = flip_samples(samples, [(), (2,), (0, 1)])
    for result, source, axes in zip(flipped, before, [(), (2,), (0, 1)], strict=True):
        assert torch.equal(result, source.flip(axes))
    flipped.zero_()
    assert torch.equal(samples, before)


def test_the_probability_bounds_are_certain() -> None:
    assert Flip(p=0.0).axes((0, 3, 0)) == ()
    assert Flip(p=1.0).axes((0, 3, 0)) == (0, 1, 2)


def test_each_axis_is_flipped_half_the_time_and_independently() -> None:
    drawn = [Flip(p=0.5).axes((0, 3, index)) for index in range(2000)]
    shares = np.bincount([sum(2**axis for axis in axes) for axes in drawn], minlength=8) / 2000
    assert (abs(shares - 1 / 8) < 4 * (1 / 8 * 7 / 8 / 2000) ** 0.5).all()
