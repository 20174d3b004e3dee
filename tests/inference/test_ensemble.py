from __future__ import annotations

import pytest
import torch

from brats_ablate.inference.ensemble import ensemble_mean
from brats_ablate.inference.tta import FlipTTA, NoTTA


def test_averages_probabilities_of_members_with_different_inputs() -> None:
    four, five = torch.rand(1, 4, 5, 6, 7), torch.rand(1, 5, 5, 6, 7)
    members = [(lambda v: v[:, :3].sigmoid(), four), (lambda v: v[:, 2:].sigmoid(), five)]
    expected = (four[:, :3].sigmoid() + five[:, 2:].sigmoid()) / 2
    for tta in (NoTTA(), FlipTTA()):
        torch.testing.assert_close(ensemble_mean(members, tta), expected)
    logits_first = ((four[:, :3] + five[:, 2:]) / 2).sigmoid()
    assert not torch.allclose(ensemble_mean(members, NoTTA()), logits_first)


def test_needs_a_member() -> None:
    with pytest.raises(ValueError, match="at least one"):
        ensemble_mean([], NoTTA())
