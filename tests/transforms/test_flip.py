from __future__ import annotations

import numpy as np
import torch

from brats_ablate.cases import Patch
from brats_ablate.transforms.flip import Flip
from brats_ablate.transforms.foreground import WithForegroundMask, WithForegroundMaskAsReleased
from brats_ablate.transforms.normalize import to_batch


def patch(index: int) -> Patch:
    rng = np.random.default_rng(index)
    images = rng.integers(-2, 3, (4, 5, 6, 7)).astype(np.int16)
    labels = rng.integers(0, 4, (5, 6, 7)).astype(np.uint8)
    return Patch(images, labels, (0.3, 0.1, 0.2, 0.4), (1.0, 2.0, 1.5, 1.1), f"case{index}", (0, 3, index))


def test_flipping_every_axis_mirrors_images_labels_and_foreground() -> None:
    for inputs in (WithForegroundMask(), WithForegroundMaskAsReleased()):
        plain = to_batch([patch(0), patch(1)], inputs, "cpu")
        flipped = to_batch([Flip(p=1.0).on_patch(patch(i)) for i in range(2)], inputs, "cpu")
        assert torch.equal(flipped.images, plain.images.flip(2, 3, 4))
        assert torch.equal(flipped.labels, plain.labels.flip(1, 2, 3))
        assert torch.equal(flipped.foreground, plain.foreground.flip(2, 3, 4))
        assert not torch.equal(flipped.images, plain.images)


def test_no_probability_flips_nothing() -> None:
    assert Flip(p=0.0).on_patch(patch(0)).mirrored == ()


def test_each_sample_of_a_batch_is_flipped_along_its_own_axes() -> None:
    patches = [Flip(p=0.5).on_patch(patch(i)) for i in range(12)]
    assert len({p.mirrored for p in patches}) > 4
    batch, plain = (
        to_batch(patches, WithForegroundMask(), "cpu"),
        to_batch([patch(i) for i in range(12)], WithForegroundMask(), "cpu"),
    )
    for b, own in enumerate(patches):
        spatial = list(own.mirrored)
        assert torch.equal(batch.labels[b], plain.labels[b].flip(spatial))
        assert torch.equal(batch.images[b], plain.images[b].flip([axis + 1 for axis in spatial]))
        assert torch.equal(batch.foreground[b, 0], plain.foreground[b, 0].flip(spatial))


def test_each_axis_is_flipped_half_the_time_and_independently() -> None:
    volume = np.zeros((4, 2, 2, 2), np.int16)
    samples = [Patch(volume, volume[0].astype(np.uint8), (), (), "", (0, 3, i)) for i in range(2000)]
    drawn = [Flip(p=0.5).on_patch(sample).mirrored for sample in samples]
    shares = np.bincount([sum(2**axis for axis in axes) for axes in drawn], minlength=8) / 2000
    assert (abs(shares - 1 / 8) < 4 * (1 / 8 * 7 / 8 / 2000) ** 0.5).all()
