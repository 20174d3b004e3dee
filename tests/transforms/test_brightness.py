from __future__ import annotations

import torch

from brats_ablate.transforms.brightness import Brightness


def test_all_modalities_are_multiplied_by_one_factor(make_batch) -> None:
    batch, before = make_batch(samples=200), make_batch(samples=200)
    Brightness(p=1.0, factor=[0.7, 1.3])(batch)
    factors = (batch.images / before.images).flatten(1)
    torch.testing.assert_close(factors, factors[:, :1].expand_as(factors), rtol=1e-5, atol=0)
    assert 0.7 <= factors.min() < 0.72
    assert 1.28 < factors.max() <= 1.3
    assert torch.equal(batch.labels, before.labels)
    assert torch.equal(batch.foreground, before.foreground)
