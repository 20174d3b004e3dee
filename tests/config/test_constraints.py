from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from brats_ablate.config.check import check
from brats_ablate.config.locations import resource_dir
from brats_ablate.errors import ConfigError
from brats_ablate.jobs.build import build_model

Composition = Callable[..., DictConfig]

_WITH_WORKERS = ("prepare", "evaluate", "calibration", "tune", "import")
"""Jobs that map cases over processes."""
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
    (["tracker=wandb", "tracker.every_steps=0"], "tracker.every_steps=0 must be 1 or more"),
    (["tracker=both", "tracker.tensorboard.every_steps=0"], "tracker.tensorboard.every_steps=0 must be 1 or more"),
    *(
        ([f"job={job}", "job.workers=0"], "job.workers=0 must be at least 1, or null for one per core")
        for job in _WITH_WORKERS
    ),
    (["job=tune", "job.connectivity=8"], "job.connectivity=8 must be one of 6, 18, 26"),
    (["job=calibration", "job.margin_mm=inf"], "job.margin_mm=inf is not a finite number"),
    (["job=calibration", "job.bins=true"], "job.bins=True must be of type int"),
    (["name=a/b"], "name='a/b' must be a plain folder name"),
    (["name=.."], "name='..' must be a plain folder name"),
    (["name=''"], "name='' must be a plain folder name"),
    (["labels.tissues.NCR=2"], "gives a value to two tissues; see conf/labels/brats2021.yaml"),
    (["labels.regions.ET=[EG]"], "labels: EG is not a tissue of labels=brats2021 (ED, NCR, ET); see"),
    (["labels.regions.ET=[]"], "labels: regions: TC leaves NCR and ET to no region within it; each"),
    (["labels.cases='('"], "labels: cases=( is not a regular expression: "),
    (["+labels.tissue={}"], "tissue"),
    (["+inference.labels.wtt=0.5"], "inference.labels.wtt is no region of labels=brats2021; choose et, others, tc, wt"),
    (
        ["labels=brats2024_gli", "+inference.labels.cc=0.5"],
        "inference.labels.cc is no region of labels=brats2024_gli; choose et",
    ),
    (
        ["labels=brats2024_gli", "inference/labels=as_released"],
        "inference/labels=as_released needs nested regions, which labels=brats2024_gli has not",
    ),
    (
        ["labels=brats_men_rt", "postprocess=paper"],
        "labels=brats_men_rt has no tissue that post-processing may relabel; set postprocess=none",
    ),
    (["data.layout=brats2020"], "data.layout=brats2020 names an option; choose it with data/layout=brats2020, or"),
    (["data.layout.images='x_{modality}'"], "data.layout: images=x_{modality} must contain {case}, e.g. {case}_"),
    (["data.layout.segmentations='{case}_{kind}'"], "segmentations={case}_{kind} contains {kind}; only {case} have"),
    (["data.layout.images='{case}.nii.gz'"], "images={case}.nii.gz must be without .nii and .nii.gz; see docs/data.md"),
    (["++data.layout.case='BraTS('"], "data.layout: case=BraTS( is not a regular expression"),
    (["data.layout.folder='['"], "data.layout: folder=[ is not a regular expression"),
    (["data.layout.modalities.t1=T1"], "data.layout: modalities.t1=T1 must be a list of names; see docs/data.md"),
    (["data.layout.modalities.t1=[t1,T2]"], "data.layout: modalities gives t2 to two modalities"),
    (["++data.layout.volumes=[t1,t2]"], "data.layout: volumes=['t1', 't2'] must name each of flair, t1, t1ce, t2 once"),
    (["+data.layout.imges=x"], "data.layout: got an unexpected keyword argument 'imges'; see docs/data.md"),
    (["~data.layout.segmentations"], "data.layout: missing 1 required positional argument: 'segmentations'; see docs"),
    (["data.list=cases.xlsx"], "data.list=cases.xlsx must be a .csv or .json file; see docs/data.md"),
    (["data.fraction=0"], "data.fraction=0 must be above 0 and at most 1, the fraction of the patients to train on"),
    (["data.fraction=1.5"], "data.fraction=1.5 must be above 0 and at most 1"),
    (["data.n_folds=1"], "data.n_folds=1 must be an integer of at least 2"),
    (["data.n_folds=null"], "data.n_folds=None must be an integer of at least 2"),
    (["data.n_folds=five"], "data.n_folds=five must be an integer of at least 2"),
    (["trainer.epochs=0"], "trainer.epochs=0 must be at least 1"),
    (["trainer.checkpoint_minutes=0"], "trainer.checkpoint_minutes=0 must be positive"),
    (["trainer.hang_minutes=0"], "trainer.hang_minutes=0 must be positive"),
    (["schedule.warmup_steps=-1"], "schedule.warmup_steps=-1 must not be negative"),
    (["patches.shape=[128,128]"], "patches.shape=[128, 128] must be three positive numbers of voxels"),
    (["patches.shape=[128,128,0]"], "patches.shape=[128, 128, 0] must be three positive numbers of voxels"),
    (["patches.tumour_probability=40"], "patches.tumour_probability=40 must lie between 0 and 1"),
    (["encoder.channels=[32]"], "encoder.channels=[32] must be two or more positive numbers"),
    (["encoder.channels=[32,0,8]"], "encoder.channels=[32, 0, 8] must be two or more positive numbers"),
    (["encoder.width=0"], "encoder.width=0 must be positive"),
    (["patches.shape=[128,128,144]"], "patches.shape=[128, 128, 144] is not divisible by 32, as UNet's 6 stages need"),
    (["encoder=depth7", "patches.shape=[96,96,96]"], "is not divisible by 64, as UNet's 7 stages need"),
    (
        ["patches.shape=[32,32,32]"],
        "patches.shape=[32, 32, 32] leaves UNet one voxel at its lowest resolution; change ",
    ),
    (["model=unet_plus_plus", "patches.shape=[48,64,64]"], "is not divisible by 32, as UNetPlusPlus's 6 stages need"),
    (["model=unet_plus_plus", "patches.shape=[32,32,32]"], "leaves UNetPlusPlus one voxel at its lowest resolution"),
    (["model=unetr", "patches.shape=[120,128,128]"], "is not divisible by 16, as UNETR needs"),
    (
        ["model=segresnet_vae", "auxiliary=vae", "patches.shape=[120,128,128]"],
        "is not divisible by 16, as SegResNetVAE",
    ),
    (["model=swin_unetr", "patches.shape=[80,96,96]"], "is not divisible by 32, as SwinUNETR needs"),
    (
        ["model=swin_unetr", "patches.shape=[32,32,32]"],
        "leaves SwinUNETR one voxel at its lowest resolution; change patches.shape",
    ),
    (["model=mednext", "patches.shape=[120,128,128]"], "is not divisible by 16, as MedNeXt's 5 stages need"),
    (["model=mednext", "model.blocks=[2,2,2]"], "must have one entry per stage each"),
    (["model=unetr", "supervision=deep"], "UNETR has no lower heads to supervise; set supervision=none"),
    (["model=mednext", "supervision=deep_as_released"], "MedNeXt has no lower heads to supervise"),
    (
        ["supervision=deep", "encoder.channels=[8,16,32]", "patches.shape=[16,16,16]"],
        "supervision.weights=[1.0, 0.5, 0.25] needs 3 heads, but 3 stages have 2; shorten it, or add stages to encoder.channels",
    ),
    (["supervision=deep", "supervision.weights=[1,0]"], "supervision.weights=[1, 0] must be positive, one per head"),
    (["supervision=deep", "supervision.weights=[]"], "supervision.weights=[] must be positive, one per head"),
    (
        ["model=segresnet_vae"],
        "model: SegResNetVAE returns vae_reconstruction, vae_mean, vae_log_var, which no loss trains; set auxiliary=vae",
    ),
    (["auxiliary=vae"], "which UNet does not return; set model=segresnet_vae or auxiliary=none"),
    (
        ["data.background=black"],
        "data.background=black must be auto, none (not skull-stripped), or the background's value",
    ),
    (["data.trust_affine_of=pd"], "data.trust_affine_of=pd must be one of flair, t1, t1ce, t2, or null"),
    (["~data.layout.modalities.t1", "data.trust_affine_of=t1"], "must be one of flair, t1ce, t2, or null"),
    (
        ["inputs.modalities=[t1ce,adc]"],
        "inputs.modalities=['t1ce', 'adc']: the data set has no adc; choose from flair, t1, t1ce, t2",
    ),
    (["inputs.modalities=[]"], "inputs.modalities=[] must name one modality or more, each once; null takes all"),
    (["inputs=onehot", "inputs.modalities=[t1,t1]"], "inputs.modalities=['t1', 't1'] must name one modality or more"),
    (["inputs.modalities=t1"], "inputs.modalities='t1' must be of type Sequence[str] | None; write [t1]"),
    (["data.spacing=[1,1]"], "data.spacing=[1, 1] must be three positive numbers (mm), e.g. [1, 1, 1], or null"),
    (["data.spacing=[1,0,1]"], "data.spacing=[1, 0, 1] must be three positive numbers"),
    (["data.spacing=1"], "data.spacing=1 must be three positive numbers"),
    (["data.patient='BraTS('"], "data.patient=BraTS( is not a regular expression"),
    (["model=unetr", "inference=whole_volume"], "UNETR takes patches of one shape only; set inference=sliding_window"),
]


@pytest.mark.parametrize(("overrides", "sentence"), IMPOSSIBLE, ids=[" ".join(o) for o, _ in IMPOSSIBLE])
def test_an_impossible_combination_is_refused_in_one_sentence(
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


FOREIGN = {"external", "dynunet", "segresnet", "nnunet", "nnunet_resenc"}
"""Options whose divisor is found by trying: see tests/models/test_trial.py."""
OPTIONS = {file.stem for file in (resource_dir("conf") / "model").glob("*.yaml")}


@pytest.mark.parametrize("option", sorted(OPTIONS - FOREIGN))
def test_the_declared_divisor_is_that_of_the_constructed_model(composition: Composition, option: str) -> None:
    auxiliary = "vae" if option == "segresnet_vae" else "none"
    cfg = composition(f"model={option}", f"auxiliary={auxiliary}", "encoder.width=0.0625", "patches.shape=[64,64,64]")
    divisor = build_model(cfg).size_divisor
    smaller = [size - d // 2 for size, d in zip((64, 64, 64), divisor, strict=True)]
    cfg.patches.shape = smaller
    with pytest.raises(ConfigError, match=rf"is not divisible by {divisor[0]}, as "):
        check(cfg)


@pytest.mark.parametrize(("option", "key"), [("tensorboard", "tracker"), ("both", "tracker.tensorboard")])
def test_a_tracker_without_its_package_is_refused_with_the_command_that_installs_it(
    option: str, key: str, composition: Composition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # as if not installed
    with pytest.raises(ConfigError) as error:
        check(composition(f"tracker={option}"))
    assert str(error.value) == (f"{key}: TensorBoardTracker needs tensorboard; install it with pip install tensorboard")


OWN_MODELS = """
from torch import nn

from brats_ablate.models.monai import SegResNetVAE, UNETR
from brats_ablate.models.unet import UNet


class Subclass(UNet):
    pass


class Fixed(UNETR):
    pass


class WithBranch(SegResNetVAE):
    pass


class Plain(nn.Module):
    size_divisor = (1, 1, 3)

    def __init__(self, in_channels, out_channels):
        super().__init__()


class Supervised(nn.Module):
    supports_deep_supervision = True

    def __init__(self, in_channels, out_channels, **kwargs):
        super().__init__()


class Unreadable(__import__("torch").nn.Module):
    supports_deep_supervision = bool(1)
"""


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["model._target_=own_models.Subclass", "patches.shape=[128,128,144]"], "as Subclass's 6 stages need"),
        (["model._target_=own_models.Subclass", "supervision=deep"], None),
        (["model=unetr", "model._target_=own_models.Fixed", "supervision=deep"], "Fixed has no lower heads"),
        (["model=unetr", "model._target_=own_models.Fixed", "inference=whole_volume"], "Fixed takes patches of one"),
        (["model=segresnet_vae", "model._target_=own_models.WithBranch"], "model: WithBranch returns vae_"),
        (["~model", "+model._target_=own_models.Plain"], "is not divisible by [1, 1, 3], as Plain needs"),
        (["~model", "+model._target_=own_models.Plain", "patches.shape=[128,128,129]"], None),
        (["~model", "+model._target_=own_models.Plain", "patches.shape=[9,9,9]", "supervision=deep"], "Plain has no"),
        (["~model", "+model._target_=own_models.Supervised", "supervision=deep"], None),
        (["~model", "+model._target_=own_models.Unreadable", "supervision=deep"], None),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_capabilities_of_own_classes_are_checked(
    composition: Composition,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overrides: list[str],
    sentence: str | None,
) -> None:
    (tmp_path / "own_models.py").write_text(OWN_MODELS)
    monkeypatch.syspath_prepend(str(tmp_path))
    cfg = composition(*overrides)
    if sentence is None:
        check(cfg)
        return
    with pytest.raises(ConfigError) as raised:
        check(cfg)
    assert sentence in str(raised.value)
