"""The layer or operation that makes a NaN is named, and not the ones after it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from brats_ablate.errors import RunFailed
from brats_ablate.models.base import SegmentationOutput
from brats_ablate.training.anomaly import anomaly_detection


class Root(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sqrt()


class Wrapped(nn.Module):
    """A network that returns an object, as the package's do."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> SegmentationOutput:
        return SegmentationOutput([self.layers(x)], {})


def test_the_layer_that_makes_it_is_named() -> None:
    model = Wrapped(nn.Identity(), Root(), nn.ReLU())
    with pytest.raises(RunFailed, match=r"layers\.1 \(Root\) makes values"), anomaly_detection(model, enabled=True):
        model(-torch.ones(2))
    model(-torch.ones(2))  # no hook is left
    assert not torch.is_anomaly_enabled()


def test_a_nan_that_no_layer_made_is_found_where_it_enters_one() -> None:
    model = Wrapped(nn.Identity())
    with pytest.raises(RunFailed, match=r"layers\.0 \(Identity\) gets values"), anomaly_detection(model, enabled=True):
        model(torch.tensor([torch.nan]))


def test_a_network_that_makes_it_outside_of_any_layer_is_named() -> None:
    model = Root()
    with pytest.raises(RunFailed, match=r"the network \(Root\) makes"), anomaly_detection(model, enabled=True):
        model(-torch.ones(2))


def test_large_finite_values_are_no_anomaly() -> None:
    model = Wrapped(nn.Identity())
    with anomaly_detection(model, enabled=True):
        model(torch.full((8,), 1e38))  # their sum overflows


def test_it_does_nothing_if_it_is_off() -> None:
    model = Wrapped(Root())
    with anomaly_detection(model, enabled=False):
        assert not torch.is_anomaly_enabled()
        model(-torch.ones(2))


@pytest.mark.filterwarnings("ignore:Error detected:UserWarning")
def test_a_nan_of_the_backward_pass_names_its_operation() -> None:
    model = Wrapped(nn.Identity())
    x = torch.zeros(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="SqrtBackward0"), anomaly_detection(model, enabled=True):
        (model(x).logits[0].sqrt() * 0).sum().backward()
