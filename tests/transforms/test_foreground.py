from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from brats_ablate.transforms.foreground import (
    InputChannels,
    ModalitiesOnly,
    WithForegroundMask,
    WithForegroundMaskAsReleased,
    non_zero_in_any,
)

CONF = Path(__file__).parents[2] / "conf" / "inputs"


@pytest.fixture
def raw() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(-3, 900, (2, 4, 5, 6, 7), generator=generator)
    values[torch.rand(values.shape, generator=generator) < 0.6] = 0
    return values.to(torch.int16)


@pytest.mark.parametrize("channels", [ModalitiesOnly(), WithForegroundMask()])
def test_the_foreground_is_non_zero_in_any_raw_modality(channels: InputChannels, raw: torch.Tensor) -> None:
    expected = (raw[:, 0] != 0) | (raw[:, 1] != 0) | (raw[:, 2] != 0) | (raw[:, 3] != 0)
    before = raw.clone()
    for values in (raw, raw.float(), raw.float() * 1e-3, raw.transpose(2, 4).contiguous().transpose(2, 4)):
        foreground = channels.foreground_mask(non_zero_in_any(values), torch.zeros(values.shape))
        assert foreground.dtype == torch.bool
        assert torch.equal(foreground, expected[:, None])
    assert 0 < expected.float().mean() < 1
    assert torch.equal(raw, before)


def test_as_released_the_foreground_is_above_average_in_all_modalities(raw: torch.Tensor) -> None:
    images = torch.randn(raw.shape, generator=torch.Generator().manual_seed(1))
    expected = images.amin(dim=1, keepdim=True) > 0
    assert torch.equal(WithForegroundMaskAsReleased().foreground_mask(non_zero_in_any(raw), images), expected)
    assert expected.any()


@pytest.mark.parametrize("channels", [ModalitiesOnly(), WithForegroundMask(), WithForegroundMaskAsReleased()])
def test_the_stacked_input_has_the_declared_channels(channels: InputChannels, raw: torch.Tensor) -> None:
    images = raw.float()
    foreground = channels.foreground_mask(non_zero_in_any(raw), images)
    stacked = channels.stack_channels(images, foreground)
    assert stacked.shape == (2, channels.count(4), 5, 6, 7)
    assert torch.equal(stacked[:, :4], images)
    for extra in stacked[:, 4:].unbind(dim=1):
        assert torch.equal(extra, foreground[:, 0].float())


@pytest.mark.parametrize(
    ("option", "kind"),
    [("plain", ModalitiesOnly), ("onehot", WithForegroundMask), ("onehot_as_released", WithForegroundMaskAsReleased)],
)
def test_each_option_makes_its_class(option: str, kind: type) -> None:
    assert type(instantiate(OmegaConf.load(CONF / f"{option}.yaml"))) is kind
