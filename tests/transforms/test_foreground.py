from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from brats_ablate.transforms.foreground import Inputs, ModalitiesOnly, WithForegroundMask, WithForegroundMaskAsReleased
from brats_ablate.transforms.normalize import non_zero_in_any

CONF = Path(__file__).parents[2] / "conf" / "inputs"


@pytest.fixture
def raw() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(-3, 900, (2, 4, 5, 6, 7), generator=generator)
    values[torch.rand(values.shape, generator=generator) < 0.6] = 0
    return values.to(torch.int16)


@pytest.mark.parametrize("inputs", [ModalitiesOnly(), WithForegroundMask()])
def test_the_foreground_is_non_zero_in_any_raw_modality(inputs: Inputs, raw: torch.Tensor) -> None:
    expected = (raw[:, 0] != 0) | (raw[:, 1] != 0) | (raw[:, 2] != 0) | (raw[:, 3] != 0)
    before = raw.clone()
    for values in (raw, raw.float(), raw.float() * 1e-3, raw.transpose(2, 4).contiguous().transpose(2, 4)):
        foreground = inputs.foreground(non_zero_in_any(values), torch.zeros(values.shape))
        assert foreground.dtype == torch.bool
        assert torch.equal(foreground, expected[:, None])
    assert 0 < expected.float().mean() < 1
    assert torch.equal(raw, before)


def test_as_released_the_foreground_is_above_average_in_all_modalities(raw: torch.Tensor) -> None:
    images = torch.randn(raw.shape, generator=torch.Generator().manual_seed(1))
    expected = images.amin(dim=1, keepdim=True) > 0
    assert torch.equal(WithForegroundMaskAsReleased().foreground(non_zero_in_any(raw), images), expected)
    assert expected.any()


@pytest.mark.parametrize("inputs", [ModalitiesOnly(), WithForegroundMask(), WithForegroundMaskAsReleased()])
def test_the_assembled_input_has_the_declared_channels(inputs: Inputs, raw: torch.Tensor) -> None:
    images = raw.float()
    foreground = inputs.foreground(non_zero_in_any(raw), images)
    assembled = inputs.assemble(images, foreground)
    assert assembled.shape == (2, inputs.channels, 5, 6, 7)
    assert torch.equal(assembled[:, :4], images)
    for extra in assembled[:, 4:].unbind(dim=1):
        assert torch.equal(extra, foreground[:, 0].float())


@pytest.mark.parametrize(
    ("option", "kind"),
    [("plain", ModalitiesOnly), ("onehot", WithForegroundMask), ("onehot_as_released", WithForegroundMaskAsReleased)],
)
def test_each_option_makes_its_class(option: str, kind: type) -> None:
    assert type(instantiate(OmegaConf.load(CONF / f"{option}.yaml"))) is kind
