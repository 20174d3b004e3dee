from __future__ import annotations

import torch

from brats_ablate.augment.flip import Flip


def test_flipping_every_axis_twice_is_the_identity(make_batch) -> None:
    batch, before = make_batch(), make_batch()
    flip = Flip(p=1.0)
    flip(batch)
    assert torch.equal(batch.images, before.images.flip(2, 3, 4))
    assert torch.equal(batch.labels, before.labels.flip(1, 2, 3))
    assert torch.equal(batch.foreground, before.foreground.flip(2, 3, 4))
    flip(batch)
    assert torch.equal(batch.images, before.images)
    assert torch.equal(batch.labels, before.labels)
    assert torch.equal(batch.foreground, before.foreground)


def test_images_labels_and_foreground_are_flipped_alike(make_batch) -> None:
    batch = make_batch(samples=30)
    batch.images[:, 1] = batch.labels.float()
    batch.foreground[:, 0] = batch.labels > 1
    before = batch.labels.clone()
    Flip(p=0.5)(batch)
    assert torch.equal(batch.images[:, 1], batch.labels.float())
    assert torch.equal(batch.foreground[:, 0], batch.labels > 1)
    assert 15 < sum(not torch.equal(a, b) for a, b in zip(batch.labels, before, strict=True)) < 30


def test_each_axis_is_flipped_half_the_time_and_independently(make_batch) -> None:
    batch = make_batch(samples=2000, shape=(2, 2, 2))
    batch.labels[:] = torch.arange(8, dtype=torch.uint8).view(2, 2, 2)
    Flip(p=0.5)(batch)
    corners = batch.labels[:, 0, 0, 0].long().bincount(minlength=8) / 2000
    assert ((corners - 1 / 8).abs() < 4 * (1 / 8 * 7 / 8 / 2000) ** 0.5).all()
