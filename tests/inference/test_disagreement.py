"""The SD of an ensemble equals NumPy's over all members at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brats_ablate.inference.disagreement import RunningSD, disagreement_map


@pytest.mark.parametrize("members", [1, 2, 10])
def test_running_sd_is_numpys(members: int) -> None:
    values = torch.rand(members, 1, 3, 4, 5, 6)
    kept = values.clone()
    sd = RunningSD()
    for value in values:
        sd.add(value)
    expected = values.double().numpy().std(axis=0)
    np.testing.assert_allclose(sd.result().numpy(), expected, atol=2e-7)
    np.testing.assert_array_equal(disagreement_map(sd.result()), sd.result()[0].numpy().max(axis=0))
    assert torch.equal(values, kept)


def test_members_that_differ_by_a_millionth_lose_no_digits() -> None:
    values = (0.999 + 1e-6 * torch.arange(8)).float().reshape(8, 1, 1, 1, 1, 1)
    sd = RunningSD()
    for value in values:
        sd.add(value)
    expected = values.double().numpy().std(axis=0)
    naive = ((values**2).mean(dim=0) - values.mean(dim=0) ** 2).clamp(min=0).sqrt().numpy()
    np.testing.assert_allclose(sd.result().numpy(), expected, rtol=0.02)
    assert abs(naive - expected).max() > 0.5 * expected.max()


def test_no_values_have_no_sd() -> None:
    with pytest.raises(ValueError, match="does not exist"):
        RunningSD().result()
