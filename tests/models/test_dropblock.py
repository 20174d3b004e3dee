"""DropBlock: what it drops, what it keeps, and when."""

from __future__ import annotations

import pytest
import torch
from scipy import ndimage

from brats_ablate.models.dropblock import DropBlock3d


def ready(probability: float = 0.1, block_size: int = 5) -> DropBlock3d:
    drop = DropBlock3d(block_size=block_size, probability=probability, ramp_steps=0)
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
