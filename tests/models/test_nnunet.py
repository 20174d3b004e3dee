from __future__ import annotations

import sys
from functools import partial

import pytest
import torch

from brats_ablate.errors import ConfigError
from brats_ablate.models.base import SegmentationModel, SegmentationOutput
from brats_ablate.models.nnunet import DynamicNetwork, SoftmaxRegions

GIVEN = {"in_channels": 4, "out_channels": 3, "n_heads": 1, "patch_shape": (2, 4, 6), "encoder": None}


class FourClasses(SegmentationModel):
    """Returns its input as logits of four classes."""

    def __init__(self, out_channels: int, patch_shape: tuple[int, int, int], **_: object) -> None:
        super().__init__(patch_shape)
        assert out_channels == 4

    def forward(self, x: torch.Tensor) -> SegmentationOutput:
        return SegmentationOutput([x], {})


def test_probabilities_of_regions_are_sums_of_the_softmax() -> None:
    model = SoftmaxRegions(FourClasses, classes=4, regions=[[1, 2, 3], [2, 3], [3]], **GIVEN)
    logits = 10 * torch.randn(2, 4, 2, 4, 6, generator=torch.Generator().manual_seed(0))
    softmax = logits.double().softmax(dim=1)
    expected = torch.stack([softmax[:, 1:].sum(1), softmax[:, 2:].sum(1), softmax[:, 3]], dim=1)
    torch.testing.assert_close(model(logits).logits[0].double().sigmoid(), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("regions", [[[1, 2, 3], [2, 3]], [[0, 1, 2, 3], [2], [3]], [[], [2], [3]]])
def test_regions_without_a_probability_are_refused(regions: list[list[int]]) -> None:
    with pytest.raises(ConfigError, match=r"must be 3 sets of classes"):
        SoftmaxRegions(FourClasses, classes=4, regions=regions, **GIVEN)


def test_a_missing_package_or_class_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    build = partial(DynamicNetwork, 4, 3, arguments={})
    monkeypatch.setitem(sys.modules, "dynamic_network_architectures.architectures.unet", None)
    with pytest.raises(ConfigError, match=r"unet\.PlainConvUNet of nnU-Net needs a package; install it with pip inst"):
        build(architecture="unet.PlainConvUNet")


def test_only_layers_of_torch_are_taken_from_plans() -> None:
    pytest.importorskip("dynamic_network_architectures", reason="not installed")
    with pytest.raises(ConfigError, match=r"conv_op=os\.system of nnU-Net's plans is no layer of torch"):
        DynamicNetwork(4, 3, "unet.PlainConvUNet", {"conv_op": "os.system"})
    with pytest.raises(ConfigError, match=r"of the installed dynamic-network-architectures: .*n_stages"):
        DynamicNetwork(4, 3, "unet.PlainConvUNet", {})
    with pytest.raises(ConfigError, match=r"has no unet\.Nothing"):
        DynamicNetwork(4, 3, "unet.Nothing", {})
