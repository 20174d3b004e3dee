from __future__ import annotations

import numpy as np
import torch
from medpy.metric.binary import dc

from brats_ablate.metrics.dice import dice_per_region


def test_equals_medpy_on_random_masks() -> None:
    generator = torch.Generator().manual_seed(1)
    predicted = torch.rand(3, 5, 6, 7, generator=generator) > 0.4
    reference = torch.rand(3, 5, 6, 7, generator=generator) > 0.6
    expected = [dc(p.numpy(), r.numpy()) for p, r in zip(predicted, reference, strict=True)]
    np.testing.assert_allclose(dice_per_region(predicted, reference), expected, rtol=1e-12)


def test_empty_regions_follow_brats() -> None:
    empty, full = torch.zeros(5, 6, 7, dtype=torch.bool), torch.ones(5, 6, 7, dtype=torch.bool)
    predicted = torch.stack([empty, empty, full])
    reference = torch.stack([empty, full, empty])
    assert dice_per_region(predicted, reference).tolist() == [1, 0, 0]
