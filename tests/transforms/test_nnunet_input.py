from __future__ import annotations

import numpy as np
import pytest
import torch

from brats_ablate.errors import ConfigError
from brats_ablate.transforms.nnunet_input import NnunetInput


def images() -> np.ndarray:
    """Two modalities with a hole in both, and a voxel that only the first has."""
    rng = np.random.default_rng(0)
    raw = rng.integers(1, 900, (2, 9, 8, 7)).astype(np.int16)
    raw[:, 0] = raw[:, :, :2] = 0
    raw[:, 4, 4, 4] = 0
    raw[1, 5, 5, 5] = 0
    return raw


def test_one_mask_with_filled_holes_is_that_of_all_modalities() -> None:
    raw = images()
    masked, whole = NnunetInput(["a", "b"], [True, False], [1, 1, 1], True).case_input(torch.from_numpy(raw))[0].numpy()
    mask = (raw != 0).any(axis=0)
    assert not mask[4, 4, 4]
    mask[4, 4, 4] = True  # the hole
    inside = raw[0][mask].astype(float)
    expected = np.where(mask, (raw[0] - inside.mean()) / inside.std(), 0)
    np.testing.assert_allclose(masked, expected, atol=1e-5)
    np.testing.assert_allclose(whole, (raw[1] - raw[1].mean()) / raw[1].std(), atol=1e-5)


def test_values_are_those_of_nnunet() -> None:
    schemes = pytest.importorskip(
        "nnunetv2.preprocessing.normalization.default_normalization_schemes", reason="nnunetv2 is not installed"
    )
    from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero

    raw = images()
    data, seg, box = crop_to_nonzero(raw.astype(np.float32))
    expected = [schemes.ZScoreNormalization(True, {}).run(channel, seg[0]) for channel in data]
    cropped = raw[(slice(None), *(slice(*edge) for edge in box))]
    found = NnunetInput(["a", "b"], [True, True], [1, 1, 1], True).case_input(torch.from_numpy(cropped))
    np.testing.assert_allclose(found[0].numpy(), expected, atol=2e-6)


def test_patches_are_refused() -> None:
    with pytest.raises(ConfigError, match="train with inputs=plain"):
        NnunetInput(["a"], [True], [1, 1, 1], True).stack_channels(torch.zeros(1), torch.zeros(1))
