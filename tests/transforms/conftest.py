"""Small batches with unequal axes for the augmentation tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from brats_ablate.cases import Batch

MakeBatch = Callable[..., Batch]


@pytest.fixture
def make_batch() -> MakeBatch:
    """Makes a batch of random images, labels in 0..3 and a random foreground; sample i has the key (seed, 3, i)."""

    def make(samples: int = 2, shape: tuple[int, int, int] = (5, 6, 7), seed: int = 0, first: int = 0) -> Batch:
        images, labels, foreground = [], [], []
        for index in range(first, first + samples):
            generator = torch.Generator().manual_seed(index)
            images.append(torch.randn((4, *shape), generator=generator))
            labels.append(torch.randint(0, 4, shape, generator=generator, dtype=torch.uint8))
            foreground.append(torch.rand((1, *shape), generator=generator) < 0.7)
        return Batch(
            images=torch.stack(images),
            foreground=torch.stack(foreground),
            labels=torch.stack(labels),
            sample_keys=[(seed, 3, index) for index in range(first, first + samples)],
        )

    return make
