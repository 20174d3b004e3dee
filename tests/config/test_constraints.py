from __future__ import annotations

from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from brats_ablate.config.check import check
from brats_ablate.errors import ConfigError

Composition = Callable[..., DictConfig]

IMPOSSIBLE = [
    (["fold=5"], "fold=5 does not exist; choose 0 to 4 (data.n_folds=5)"),
    (["fold=-1"], "fold=-1 does not exist"),
    (["fold=one"], "fold=one does not exist"),
    (["fold=true"], "fold=True does not exist"),
    (["lr=abc"], "lr=abc must be a positive number"),
    (["lr=0"], "lr=0 must be a positive number"),
    (["lr=nan"], "lr=nan must be a positive number"),
    (["lr=inf"], "lr=inf must be a positive number"),
    (["lr=[1e-3]"], "lr=[0.001] must be a positive number"),
    (["seed=1.5"], "seed=1.5 must be an integer"),
    (["name=a/b"], "name='a/b' must be a plain folder name"),
    (["name=.."], "name='..' must be a plain folder name"),
    (["name=''"], "name='' must be a plain folder name"),
    (["data.layout=brats2020"], "data.layout=brats2020 is unknown; choose one of brats2021, brats2018"),
    (["data.convention=brats2018"], "data.convention=brats2018 is unknown; choose one of brats2021, brats2023, msd"),
    (["data.n_folds=1"], "data.n_folds=1 must be an integer of at least 2"),
    (["trainer.epochs=0"], "trainer.epochs=0 must be at least 1"),
    (["trainer.checkpoint_minutes=0"], "trainer.checkpoint_minutes=0 must be positive"),
    (["schedule.warmup_steps=-1"], "schedule.warmup_steps=-1 must not be negative"),
    (["patches.shape=[128,128]"], "patches.shape=[128, 128] must be three positive numbers of voxels"),
    (["patches.shape=[128,128,0]"], "patches.shape=[128, 128, 0] must be three positive numbers of voxels"),
    (["patches.tumour_probability=40"], "patches.tumour_probability=40 must lie between 0 and 1"),
    (["encoder.channels=[32]"], "encoder.channels=[32] must be two or more positive numbers"),
    (["encoder.channels=[32,0,8]"], "encoder.channels=[32, 0, 8] must be two or more positive numbers"),
    (["encoder.width=0"], "encoder.width=0 must be positive"),
    (["patches.shape=[128,128,144]"], "patches.shape=[128, 128, 144] is not divisible by 32, as 6 levels need"),
    (["encoder=depth7", "patches.shape=[96,96,96]"], "is not divisible by 64, as 7 levels need"),
    (["patches.shape=[32,32,32]"], "patches.shape=[32, 32, 32] leaves one voxel after 6 levels"),
    (["model=unet_plus_plus", "patches.shape=[48,64,64]"], "is not divisible by 32, as 6 levels need"),
    (["model=unet_plus_plus", "patches.shape=[32,32,32]"], "leaves one voxel after 6 levels"),
    (["model=unetr", "patches.shape=[120,128,128]"], "is not divisible by 16, as UNETR's tokens need"),
    (
        ["model=segresnet_vae", "auxiliary=vae", "patches.shape=[120,128,128]"],
        "is not divisible by 16, as SegResNetVAE",
    ),
    (["model=swin_unetr", "patches.shape=[80,96,96]"], "is not divisible by 32, as SwinUNETR needs"),
    (["model=swin_unetr", "patches.shape=[32,32,32]"], "leaves SwinUNETR one voxel; make one axis at least 64"),
    (["model=mednext", "patches.shape=[120,128,128]"], "is not divisible by 16, as MedNeXt's 5 levels need"),
    (["model=mednext", "model.blocks=[2,2,2]"], "must have one entry per level each"),
    (["model=unetr", "supervision=deep"], "UNETR has no lower heads to supervise; set supervision=none"),
    (["model=mednext", "supervision=deep_as_released"], "MedNeXt has no lower heads to supervise"),
    (
        ["supervision=deep", "encoder.channels=[8,16,32]", "patches.shape=[16,16,16]"],
        "supervision.weights=[1.0, 0.5, 0.25] asks for 3 heads, but 3 levels have 2",
    ),
    (["supervision=deep", "supervision.weights=[1,0]"], "supervision.weights=[1, 0] must be positive, one per head"),
    (["supervision=deep", "supervision.weights=[]"], "supervision.weights=[] must be positive, one per head"),
    (["model=segresnet_vae"], "SegResNetVAE's VAE branch would be trained by nothing; set auxiliary=vae"),
    (["auxiliary=vae"], "auxiliary=vae needs a model with a VAE branch; set model=segresnet_vae or auxiliary=none"),
    (["model=unetr", "inference=whole_volume"], "UNETR takes patches of one shape only; set inference=sliding_window"),
]


@pytest.mark.parametrize(("overrides", "sentence"), IMPOSSIBLE, ids=[" ".join(o) for o, _ in IMPOSSIBLE])
def test_an_impossible_combination_is_told_in_one_sentence(
    composition: Composition, overrides: list[str], sentence: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        check(composition(*overrides))
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["patches.shape=[32,32,64]"],  # two voxels at the bottom are enough
        ["encoder=depth7", "patches.shape=[64,128,64]"],
        ["model=unet_plus_plus", "supervision=deep", "patches.shape=[64,96,32]"],
        ["model=swin_unetr", "patches.shape=[32,64,32]"],
        ["model=mednext", "patches.shape=[16,16,48]"],
        ["model=mednext", "model.blocks=[1,1,1]", "model.expansion_ratios=[2,2,2]", "patches.shape=[12,12,12]"],
        ["model=unetr", "patches.shape=[16,32,48]"],
        ["model=segresnet_vae", "auxiliary=vae", "patches.shape=[48,64,80]"],
        ["supervision=deep", "encoder.channels=[8,16,32,32]", "patches.shape=[16,16,24]"],
        ["data.n_folds=7", "fold=6"],
        ["lr=1"],
        ["name=ds_focal"],
    ],
    ids=" ".join,
)
def test_a_possible_combination_passes(composition: Composition, overrides: list[str]) -> None:
    check(composition(*overrides))
