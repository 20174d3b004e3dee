"""DropBlock: what it drops, what it keeps, and when."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from brats_ablate.models.dropblock import DropBlock3d, DropBlockAsReleased


def ready(probability: float = 0.1, block_size: int = 5, kind: type[DropBlock3d] = DropBlock3d) -> DropBlock3d:
    drop = kind(block_size=block_size, probability=probability, ramp_steps=0)
    drop.set_step(0)
    return drop


@pytest.mark.parametrize("probability", [0.05, 0.1, 0.3])
@pytest.mark.parametrize(("shape", "channels"), [((20, 24, 28), 300), ((4, 4, 4), 20_000), ((2, 4, 8), 20_000)])
def test_the_requested_fraction_is_dropped(probability, shape, channels):
    kept = ready(probability).keep_mask(torch.zeros(1, channels, *shape))
    assert 1 - kept.mean().item() == pytest.approx(probability, rel=0.06)


def test_what_is_dropped_is_a_union_of_whole_cubes():
    kept = ready(0.05, block_size=3).keep_mask(torch.zeros(2, 4, 12, 14, 16))
    dropped = (kept == 0).numpy()
    assert dropped.any()
    for channel in dropped.reshape(-1, 12, 14, 16):
        # Opening by the cube keeps exactly the voxels that some whole cube inside the volume covers.
        opened = ndimage.binary_opening(channel, structure=[[[1] * 3] * 3] * 3)
        assert (opened == channel).all()


def expected_share_as_released(shape, probability, block_size):
    """The expectation from the probability of each voxel, by the number of centers whose cube covers it."""
    reach = np.arange(block_size) - block_size // 2
    covering = [np.array([np.isin(i + reach, np.arange(s)).sum() for i in range(s)]) for s in shape]
    centers = np.einsum("x,y,z->xyz", *covering)
    return (1 - (1 - probability / block_size**3) ** centers).mean()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "block_size", "share"), [((4, 4, 4), 5, 0.0337), ((8, 8, 8), 5, 0.0594), ((3, 5, 8), 4, None)]
)
def test_the_released_code_drops_fewer_than_requested(shape, block_size, share):
    expected = expected_share_as_released(shape, 0.1, block_size)
    assert share is None or expected == pytest.approx(share, abs=5e-5)
    drop = ready(0.1, block_size, DropBlockAsReleased)
    samples = torch.zeros(25_000, 1, *shape)
    dropped = 1 - drop.keep_mask(samples).mean(dim=(1, 2, 3, 4))
    standard_error = dropped.std().item() / len(samples) ** 0.5
    assert standard_error < 0.03 * expected
    assert dropped.mean().item() == pytest.approx(expected, abs=4 * standard_error)


def test_as_released_all_channels_of_a_sample_share_their_cubes():
    y = ready(0.3, 3, DropBlockAsReleased)(torch.ones(2, 3, 8, 8, 8))
    assert (y == 0).any()
    assert torch.equal(y, y[:, :1].expand_as(y))
    assert not torch.equal(y[0], y[1])
    assert y.mean().item() == pytest.approx(1, rel=1e-5)


def test_channels_drop_apart():
    kept = ready(0.2).keep_mask(torch.zeros(1, 2, 16, 16, 16))
    assert not torch.equal(kept[0, 0], kept[0, 1])


def test_the_mean_is_kept():
    x = torch.ones(2, 16, 12, 12, 12)
    y = ready(0.3)(x)
    assert (y == 0).any()
    assert y.mean().item() == pytest.approx(1, rel=1e-5)


def test_off_in_evaluation():
    x = torch.randn(1, 4, 8, 8, 8)
    assert ready(0.5).eval()(x) is x


def test_nothing_is_dropped_at_step_zero_of_a_ramp():
    drop = DropBlock3d(block_size=5, probability=0.1, ramp_steps=10_000)
    x = torch.randn(1, 4, 8, 8, 8)
    assert torch.equal(drop(x), x)


@pytest.mark.parametrize(("step", "expected"), [(0, 0), (2_500, 0.025), (10_000, 0.1), (99_999, 0.1)])
def test_linear_ramp_that_neither_history_nor_evaluation_advances(step, expected):
    drop = DropBlock3d(block_size=5, probability=0.1, ramp_steps=10_000)
    drop.set_step(7_777)
    drop(torch.zeros(1, 2, 6, 6, 6))
    drop.eval()(torch.zeros(1, 2, 6, 6, 6))
    drop.set_step(step)
    assert float(drop.drop_probability) == pytest.approx(expected)


def test_the_schedule_is_not_part_of_a_checkpoint():
    assert ready().state_dict() == {}


def test_half_precision_stays():
    assert ready()(torch.ones(1, 2, 8, 8, 8, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("settings", [(0, 0.1, 1), (5, 1.0, 1), (5, -0.1, 1), (5, 0.1, -1)])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match="out of range"):
        DropBlock3d(*settings)
