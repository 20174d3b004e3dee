from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from brats_ablate.errors import ConfigError
from brats_ablate.transforms.compose import Compose
from brats_ablate.transforms.foreground import WithForegroundMask
from brats_ablate.transforms.zoom import Zoom

CONF = Path(__file__).parents[2] / "conf" / "augment"


def configured(name: str) -> Compose:
    return instantiate(OmegaConf.load(CONF / f"{name}.yaml"), _convert_="all")


def test_the_paper_s_chain_is_in_the_paper_s_order() -> None:
    names = list(configured("paper").transforms)
    assert names == ["zoom", "flip", "noise", "blur", "brightness", "contrast"]


def test_none_changes_nothing(make_batch) -> None:
    batch, before = make_batch(), make_batch()
    batch = configured("none")(batch)
    assert torch.equal(batch.images, before.images)
    assert torch.equal(batch.labels, before.labels)


def test_a_sample_is_augmented_alike_alone_and_in_any_batch(make_batch) -> None:
    augment = configured("paper")
    for transform in augment.transforms.values():
        transform.p = 0.5
    together = augment(make_batch(samples=12, shape=(16, 20, 24)))
    changed = 0
    for first, samples in ((0, 1), (1, 4), (5, 7)):
        apart = augment(make_batch(samples=samples, shape=(16, 20, 24), first=first))
        for b in range(samples):
            assert torch.equal(apart.images[b], together.images[first + b])
            assert torch.equal(apart.labels[b], together.labels[first + b])
            assert torch.equal(apart.foreground[b], together.foreground[first + b])
            original = make_batch(samples=1, shape=(16, 20, 24), first=first + b)
            changed += not torch.equal(original.images[0], apart.images[b])
    assert changed >= 10


def test_another_seed_or_epoch_augments_differently(make_batch) -> None:
    augment = configured("paper")
    augment.transforms["noise"].p = 1.0
    first = augment(make_batch(samples=1)).images
    assert not torch.equal(first, augment(make_batch(samples=1, seed=1)).images)
    other_epoch = make_batch(samples=1)
    other_epoch.sample_keys = [(0, 4, 0)]
    assert not torch.equal(first, augment(other_epoch).images)


def test_turning_one_transform_off_leaves_the_draws_of_the_others_alone(make_batch) -> None:
    full, without_noise = configured("paper"), configured("paper")
    without_noise.transforms["noise"].p = 0.0
    a, b = full(make_batch(samples=40)), without_noise(make_batch(samples=40))
    assert torch.equal(a.labels, b.labels)
    assert torch.equal(a.foreground, b.foreground)
    same = [torch.equal(x, y) for x, y in zip(a.images, b.images, strict=True)]
    assert 25 < sum(same) < 40


def test_the_expected_share_of_samples_is_touched_by_intensity_operations(make_batch) -> None:
    augment = configured("paper")
    augment.transforms["zoom"].p = 0.0
    samples = 1500
    batch, before = make_batch(samples=samples, shape=(2, 3, 4)), make_batch(samples=samples, shape=(2, 3, 4))
    augment(batch)
    touched = (batch.images != before.images).flatten(1).any(dim=1).float().mean().item()
    expected = 1 - 0.85**4
    assert touched == pytest.approx(expected, abs=4 * (expected * (1 - expected) / samples) ** 0.5)
    assert torch.equal(batch.labels, before.labels)
    assert torch.equal(batch.foreground, before.foreground)


def test_transforms_run_in_the_given_order(make_batch) -> None:
    class Halve:
        def __call__(self, batch):
            batch.images.mul_(0.5)
            return batch

    class AddOne:
        def __call__(self, batch):
            batch.images.add_(1)
            return batch

    before = make_batch()
    batch = Compose({"add": AddOne(), "zoom": Zoom(0.0, [1.0, 1.4]), "halve": Halve()})(make_batch())
    torch.testing.assert_close(batch.images, (before.images + 1) / 2)


def test_the_flip_is_left_to_the_pipeline(make_batch) -> None:
    augment = configured("paper")
    augment.transforms["flip"].p = 1.0
    assert augment.flip_axes((0, 3, 0)) == (0, 1, 2)
    assert configured("none").flip_axes((0, 3, 0)) == ()
    only_flip = Compose({"flip": augment.transforms["flip"]})
    assert torch.equal(only_flip(make_batch()).images, make_batch().images)


def test_as_released_the_one_hot_channel_is_augmented_like_an_image(make_batch) -> None:
    augment = configured("as_released")
    for transform in augment.transforms.values():
        transform.p = 1.0
    shape = (16, 20, 24)
    batch, channels = make_batch(samples=4, shape=shape), WithForegroundMask()
    expected = make_batch(samples=4, shape=shape)
    expected.images = channels.stack_channels(expected.images, expected.foreground)
    for name in ("zoom", "noise", "blur", "brightness", "contrast"):
        expected = augment.transforms[name](expected)
    found = augment.augmented_input(batch, channels)
    assert torch.equal(found.images, expected.images)
    assert torch.equal(found.labels, expected.labels)
    assert len(found.images[:, 4].unique()) > 1000  # no longer a mask


def test_otherwise_it_stays_a_mask(make_batch) -> None:
    augment = configured("paper")
    for transform in augment.transforms.values():
        transform.p = 1.0
    found = augment.augmented_input(make_batch(shape=(16, 20, 24)), WithForegroundMask())
    assert found.images.shape == (2, 5, 16, 20, 24)
    assert set(found.images[:, 4].unique().tolist()) == {0.0, 1.0}


def test_the_released_chain_flips_with_its_own_probability() -> None:
    augment = configured("as_released")
    axes = [augment.flip_axes((0, 0, index)) for index in range(4000)]
    share = sum(map(len, axes)) / (3 * len(axes))
    assert share == pytest.approx(0.33, abs=4 * (0.33 * 0.67 / 12_000) ** 0.5)


def test_a_transform_that_does_not_return_the_batch_is_named(make_batch) -> None:
    def in_place(batch):
        batch.images.mul_(2)

    with pytest.raises(
        ConfigError, match=r"^augment\.transforms\.mine: function returns a NoneType, not the batch; end"
    ):
        Compose({"mine": in_place})(make_batch())
