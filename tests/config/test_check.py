from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf, open_dict

from brats_ablate.config.check import GROUPS, check, check_data
from brats_ablate.config.locations import resource_dir
from brats_ablate.config.messages import OWN_OPTION
from brats_ablate.errors import ConfigError

Composition = Callable[..., DictConfig]


def refusal(cfg: DictConfig) -> str:
    with pytest.raises(ConfigError) as raised:
        check(cfg)
    return str(raised.value)


@pytest.mark.slow
@pytest.mark.parametrize("group", [group for group in GROUPS if group != "auxiliary"])
def test_every_option_of_every_group_passes(composition: Composition, group: str) -> None:
    partners = {
        "model=segresnet_vae": ["auxiliary=vae"],
        "model=external": ["model.network._target_=monai.networks.nets.VNet"],
    }
    options = {path.stem for path in (resource_dir("conf") / group).glob("*.yaml")}
    assert options
    options -= {"base"}  # what the options of data start from
    for option in sorted(options):
        check(composition(f"{group}={option}", *partners.get(f"{group}={option}", [])))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["+modle=unet"], "modle is not a known key; did you mean model?"),
        (["+data.fold_sead=1"], "data.fold_sead is not a known key; did you mean data.fold_seed?"),
        (["+inference.tda=1"], "inference.tda is not a known key; did you mean inference.tta?"),
        (["+paths.run=x"], "paths.run is not a known key; did you mean paths.runs?"),
        (
            ["+trainer.epocs=3"],
            "trainer.epocs is not an argument of brats_ablate.training.settings.TrainerSettings; "
            "did you mean trainer.epochs?",
        ),
        (["+trainer.validate_every=5"], "trainer.validate_every is validation.every now; set that in its place, outside of trainer"),
        (["validation.every=0"], "validation.every=0 must be at least 1"),
        (["+model.drop.rate=0.1"], "model.drop.rate is not an argument of brats_ablate.models.dropblock.NoDrop"),
        (["+augment.transforms.blur.sigma=1"], "augment.transforms.blur.sigma is not an argument of brats_ablate.transforms.blur"),
        (["+job.x=1"], "job.x is not an argument of brats_ablate.jobs.train.run; it takes none, remove it"),
        (["job=evaluate", "+job.metrics.hd95=monai"], "are the group metrics now; move their keys to an option conf/metrics/"),
        (["job=rank", "+job.scorer.hd95=monai"], "are the group metrics now"),
        (["job=predict", "job.output=../../x"], "job.output='../../x' must be a plain folder name"),
        (["job=evaluate", "job.name=/elsewhere/x"], "job.name='/elsewhere/x' must be a plain folder name"),
        (["job=evaluate", "job.name=.hidden"], "job.name='.hidden' must be a plain folder name"),
        (["job=status", "+job.wach=1"], "did you mean job.watch?"),
        (["+model.n_heads=3"], "model.n_heads is set by the job; remove it from the configuration"),
        (["+optimizer.lr=3"], "optimizer.lr is set by the job; remove it from the configuration"),
        (["~model.gate"], "model.gate is missing; brats_ablate.models.unet.UNet needs it"),
        (["~schedule"], "schedule is missing from the configuration; choose one with schedule=<option>"),
        (["~fold"], "fold is missing from the configuration; build yours on conf/config.yaml"),
        (["trainer.epochs=many"], "trainer.epochs='many' must be of type int"),
        (["optimizer.weight_decay=inf"], "optimizer.weight_decay=inf is not a finite number"),
        (["trainer.epochs=2.5"], "trainer.epochs=2.5 must be of type int"),
        (["trainer.epochs=true"], "trainer.epochs=True must be of type int"),
        (["trainer.precision=fp8"], "trainer.precision='fp8' must be one of auto, fp32, tf32, bf16, fp16"),
        (["patches.shape=128"], "patches.shape=128 must be of type list[int]"),
        (["patches.shape=[128,128,x]"], "patches.shape=[128, 128, 'x'] must be of type list[int]"),
        (["model.gate._target_=brats_ablate.models.attention_gate.Gate"], "model.gate._target_: brats_ablate.models.attention_gate has no Gate"),
        (["model._target_=brats_ablate.models.vnet.VNet"], "model._target_: there is no module brats_ablate.models.vnet"),
        (["++data.raw=???"], "data.raw has no value (Missing mandatory value: raw); set data.raw=<value>"),
        (["inference.labels=as_released"], "inference.labels=as_released names an option; choose it with inference/labels=as_released"),
        (["inference.average=median"], "inference.average=median must be one of probabilities, logits"),
        (["~loss._target_"], "loss names no class; write it as _target_, as the options in conf/loss do, or build on one of them by"),
        (["~labels._target_"], "labels names no class; write it as _target_, as the options in conf/labels do"),
        (["inference.window=null"], "inference.window names no class"),
        (["+augment.transforms.gamma.p=1"], "augment.transforms.gamma names no class"),
        (["+metrics.extra.mine.scale=1"], "metrics.extra.mine names no class"),
        (["lr=${learning_rate}"], "lr has no value (Interpolation key 'learning_rate' not found); set lr=<value>"),
    ],
)  # fmt: skip
def test_a_fault_is_one_sentence(composition: Composition, overrides: list[str], sentence: str) -> None:
    message = refusal(composition(*overrides))
    assert sentence in message
    assert "\n" not in message


def test_a_group_that_is_no_group_is_refused(composition: Composition) -> None:
    cfg = composition()
    with open_dict(cfg):
        cfg.inference = 3
    assert refusal(cfg) == "inference=3 must be a group of keys; see conf/inference"


def test_an_own_component_is_compared_with_its_constructor(
    composition: Composition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_tracker.py").write_text("class Tracker:\n    def __init__(self, run, place: str):\n        pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    cfg = composition()
    cfg.tracker = OmegaConf.create({"_target_": "own_tracker.Tracker", "place": "here"})
    check(cfg)
    cfg.tracker = OmegaConf.create({"_target_": "own_tracker.Tracker", "plaice": "here"})
    assert refusal(cfg) == "tracker.plaice is not an argument of own_tracker.Tracker; did you mean tracker.place?"


OWN_PARTS = """
import torch


class Schedule:
    def __init__(self, warmup_steps: int, power: float = 0.9):
        pass

    def factor(self, step, total_steps):
        return 1.0


def lion(weights, lr, beta: float):
    pass
"""


@pytest.mark.parametrize(
    ("group", "node", "sentence"),
    [
        ("optimizer", {"_target_": "torch.optim.SGD", "momentum": 0.9}, None),
        ("optimizer", {"_target_": "torch.optim.SGD", "momentun": 0.9}, "did you mean optimizer.momentum?"),
        ("optimizer", {"_target_": "torch.optim.AdamW", "lr": 0.9}, "optimizer.lr is set by the job"),
        ("optimizer", {"_target_": "own_parts.lion", "beta": 0.9}, None),
        ("optimizer", {"_target_": "own_parts.lion"}, "optimizer.beta is missing; own_parts.lion needs it"),
        ("optimizer", {"_target_": "own_parts.lion", "beta": 0.9, "weights": 1}, "optimizer.weights is set by the job"),
        ("schedule", {"_target_": "own_parts.Schedule", "warmup_steps": 3}, None),
        ("schedule", {"_target_": "own_parts.Schedule", "warmup_steps": "3"}, "must be of type int"),
        ("loss", {"_target_": "monai.losses.DiceCELoss", "sigmoid": True}, None),
        ("loss", {"_target_": "monai.losses.DiceCELoss", "sigmoyd": True}, "did you mean loss.sigmoid?"),
    ],
)
def test_parts_of_torch_monai_and_the_user_need_no_change_here(
    composition: Composition,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    group: str,
    node: dict[str, object],
    sentence: str | None,
) -> None:
    (tmp_path / "own_parts.py").write_text(OWN_PARTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    cfg = composition()
    cfg[group] = OmegaConf.create(node)
    if sentence is None:
        check(cfg)
    else:
        assert sentence in refusal(cfg)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["+loss={_target_:monai.losses.DiceFocalLoss,sigmoid:true}"],
            "loss.voxelwise is not an argument of monai.losses.DiceFocalLoss, but left from the chosen option of loss",
        ),
        (
            ["+loss={_target_:own_empty.Loss}"],
            "is not an argument of own_empty.Loss, but left from the chosen option of loss",
        ),
        (
            ["+model={_target_:own_empty.Loss}"],
            "is not an argument of own_empty.Loss, but left from the chosen option of",
        ),
        (
            ["+inference={window:{_target_:own_empty.Loss}}"],
            " of own_empty.Loss, but left from the chosen option of infe",
        ),
    ],
)
def test_keys_that_a_new_class_does_not_take_are_left_from_the_option(
    composition: Composition,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overrides: list[str],
    sentence: str,
) -> None:
    (tmp_path / "own_empty.py").write_text("class Loss:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    message = refusal(composition(*overrides))
    assert sentence in message
    assert OWN_OPTION.format(overrides[0][1:].partition("=")[0]) in message


def test_a_mistyped_key_of_an_own_option_is_not_left_from_another(
    composition: Composition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_parts.py").write_text(OWN_PARTS)
    (tmp_path / "conf/schedule").mkdir(parents=True)
    (tmp_path / "conf/schedule/mine.yaml").write_text("_target_: own_parts.Schedule\nwarmup_step: 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    cfg = composition()
    cfg.schedule = OmegaConf.load("conf/schedule/mine.yaml")
    assert "did you mean schedule.warmup_steps?" in refusal(cfg)


def test_training_on_data_that_is_not_prepared_names_the_command(composition: Composition, tmp_path: Path) -> None:
    cfg = composition(f"paths.prepared={tmp_path}")
    command = "python -m brats_ablate job=prepare data=brats21 data.raw=<folder of the data set>"
    with pytest.raises(ConfigError, match=f"{tmp_path} is not prepared; run `{command}` first"):
        check_data(cfg)
    with pytest.raises(ConfigError, match="job=prepare data=phantom` first"):
        check_data(composition("data=phantom", f"paths.prepared={tmp_path}"))
    check_data(composition("job=tables", f"paths.prepared={tmp_path}"))
    (tmp_path / "cohort.json").touch()
    check_data(cfg)
