"""Foreign networks are checked before a run starts, once each, and only for jobs that train."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from brats_ablate.errors import ConfigError
from brats_ablate.jobs import build, network_check
from brats_ablate.jobs.network_check import check_network

Composition = Callable[..., DictConfig]

UNET = "++model.network={_target_:monai.networks.nets.UNet,spatial_dims:3,channels:[4,4],strides:[2]}"
SMALL = ("model=external", "patches.shape=[16,16,8]", UNET)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the folds of the configurations whose network was built, in order."""
    folds: list[int] = []
    original = build.build_model

    def recorded(cfg: DictConfig) -> object:
        folds.append(int(cfg.fold))
        return original(cfg)

    monkeypatch.setattr(build, "build_model", recorded)
    monkeypatch.setattr(network_check, "FITTING", set())
    return folds


@pytest.mark.slow
def test_a_network_is_checked_once_in_a_sweep(composition: Composition, built: list[int]) -> None:
    for overrides in (["fold=0"], ["fold=1", "lr=1e-3", "loss=focal_dice"], ["fold=2", "inputs=onehot"], ["job=plan"]):
        check_network(composition(*SMALL, *overrides))
    assert built == [0, 2], "another network for another number of channels"


OWN_UNET = """
import torch
from brats_ablate.models.unet import UNet


class ReadsValues(UNet):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.rates = [rate.item() for rate in torch.linspace(0, 0.1, 4)]
"""


@pytest.mark.slow
def test_a_constructor_that_reads_values_fits(
    composition: Composition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built: list[int]
) -> None:
    (tmp_path / "own_unet.py").write_text(OWN_UNET)
    monkeypatch.syspath_prepend(str(tmp_path))
    check_network(composition("model._target_=own_unet.ReadsValues", "encoder.width=0.125"))
    assert built == [0, 0], "on the meta device, then on the CPU"


@pytest.mark.parametrize("overrides", [[], ["model=unetr"], [*SMALL, "job=predict"], [*SMALL, "job=tables"]])
def test_networks_of_this_program_and_other_jobs_build_none(
    composition: Composition, built: list[int], overrides: list[str]
) -> None:
    check_network(composition(*overrides))
    assert built == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ([*SMALL, "supervision=deep"], "model: UNet returns 1 head(s) in training, but supervision has weights for 3"),
        ([*SMALL, "patches.shape=[15,16,8]"], "for a patch of [15, 16, 8] voxels, in place of logits"),
        ([*SMALL, "patches.shape=[15,16,8]"], "; it takes patches.shape=[16,16,8]"),
        ([*SMALL, "+model.network.out_channels=4"], "model: UNet returns 4 channels for 3 regions; set its argument"),
        ([*SMALL, "model.size_divisor=[4,4,16]"], "patches.shape=[16, 16, 8] is not divisible by [4, 4, 16], as Ext"),
        (
            [
                *("model=external", "patches.shape=[16,16,16]", "inference=whole_volume"),
                "++model.network={_target_:monai.networks.nets.UNETR,img_size:'${patch:}',feature_size:4,hidden_size:8,"
                "mlp_dim:8,num_heads:2}",
            ],
            "model: the network takes patches of one shape only; set inference=sliding_window",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_does_not_fit_is_one_sentence(composition: Composition, overrides: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as raised:
        check_network(composition(*overrides))
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)
