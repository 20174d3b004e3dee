from __future__ import annotations

import numpy as np

from brats_ablate.runtime.random import rng_for
from brats_ablate.transforms.contrast import Contrast, ContrastAsReleased


def test_each_modality_is_multiplied_and_clipped_to_its_own_range(make_batch) -> None:
    batch, before = make_batch(samples=40), make_batch(samples=40)
    for images in (batch.images, before.images):
        images[:, 1].mul_(5)
        images[:, 2].sub_(3)
    Contrast(p=1.0, factor=[0.65, 1.5])(batch)
    clipped = 0
    for b, sample_key in enumerate(batch.sample_keys):
        rng = rng_for(*sample_key, "contrast")
        rng.random()
        factor = np.float32(rng.uniform(0.65, 1.5))
        for after, source in zip(batch.images[b].numpy(), before.images[b].numpy(), strict=True):
            expected = np.clip(source * factor, source.min(), source.max())
            np.testing.assert_allclose(after, expected, rtol=1e-6)
            clipped += (expected != source * factor).sum()
    assert clipped > 0


def test_as_released_all_channels_are_clipped_to_one_range(make_batch) -> None:
    batch, before = make_batch(samples=20), make_batch(samples=20)
    for images in (batch.images, before.images):
        images[:, 1].mul_(5)
    ContrastAsReleased(p=1.0, factor=[0.65, 1.5])(batch)
    clipped = 0
    for b, sample_key in enumerate(batch.sample_keys):
        rng = rng_for(*sample_key, "contrast")
        rng.random()
        source = before.images[b].numpy()
        scaled = source * np.float32(rng.uniform(0.65, 1.5))
        expected = np.clip(scaled, source.min(), source.max())
        np.testing.assert_allclose(batch.images[b].numpy(), expected, rtol=1e-6)
        clipped += (expected != scaled).sum()
        own = np.abs(source[0]).max()
        assert np.abs(expected[0]).max() <= 1.5 * own
    assert clipped > 0
