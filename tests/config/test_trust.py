"""Files that are exchanged name classes that only compute, and run nothing."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from brats_ablate.config.trust import is_own_class, named_targets, require_plain, require_trusted
from brats_ablate.errors import ConfigError

FILE = Path("runs/theirs/config.yaml")


@pytest.mark.parametrize(
    "target",
    [
        "brats_ablate.models.unet.UNet",
        "brats_ablate.inference.thresholds.RegionThresholds",
        "torch.nn.Conv3d",
        "torch.nn.modules.activation.ReLU",
        "monai.networks.nets.DynUNet",
        "mine.MyUNet",
        "mine.declared",
    ],
)
def test_classes_that_only_compute_are_built(target: str) -> None:
    cfg = {"trust": ["mine.MyUNet"], "model": {"block": {"_target_": "mine.declared"}}}
    require_trusted({"model": {"_target_": target, "blocks": [{"_target_": target}]}}, FILE, named_targets(cfg))


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "subprocess.Popen",
        "builtins.eval",
        "mine.Other",
        "brats_ablate.jobs.prepare.run",
        "brats_ablate.tracking.wandb.WandbTracker",
        "brats_ablate.models.unet.torch.load",
        "brats_ablate.models.external.subprocess",
        "brats_ablate.models.nowhere.UNet",
        "brats_ablate.training.optimizers.adam",
        "brats_ablate.models.unet.EncoderConfig",  # imported there
        "torch.load",
        "torch.nn.functional.relu",
        "torch.nn.init.normal_",
        "torch.nn.nowhere.Conv3d",
        "torch.nnx.Conv3d",
        "monai.bundle.run",
        "hydra.utils.call",
        "",
        3,
        None,
    ],
)
def test_everything_else_is_refused_by_name(target: object) -> None:
    tree = {"model": {"blocks": [{"_target_": target}]}}
    with pytest.raises(ConfigError) as error:
        require_trusted(tree, FILE, {"mine.MyUNet"})
    assert str(error.value).startswith(f"{FILE}: model.blocks.0._target_ names {target}, which is not a class of this")


@pytest.mark.parametrize("value", ["${oc.env:WANDB_API_KEY}", "x${model.width}"])
def test_data_interpolates_nothing(value: str) -> None:
    with pytest.raises(ConfigError, match="refers to another value, which data may not"):
        require_plain({"model": {"name": value}}, FILE)


def test_own_classes_are_recognized() -> None:
    assert is_own_class("brats_ablate.models.unet.UNet")
    assert not is_own_class("brats_ablate.models.unet.nothing")


def test_every_target_that_the_program_writes_into_data_is_trusted() -> None:
    import yaml

    from brats_ablate.config.locations import resource_dir

    groups = ("model", "inputs", "supervision", "encoder", "labels", "inference", "postprocess")
    files = [file for group in groups for file in (resource_dir("conf") / group).rglob("*.yaml")]
    skipped = {"external"} if find_spec("dynamic_network_architectures") else {"external", "nnunet", "nnunet_resenc"}
    trees = [yaml.safe_load(file.read_text()) for file in files if file.stem not in skipped]
    assert len({target for tree in trees for target in named_targets(tree)}) > 25
    for tree in trees:
        require_trusted(tree, FILE, ())


def test_a_class_that_is_only_named_counts_by_its_name() -> None:
    def named(**keys: object) -> dict[str, object]:
        return {"model": {"conv": {"_target_": "hydra.utils.get_class", **keys}}}

    require_trusted(named(path="torch.nn.Conv3d"), FILE, ())
    require_trusted(named(path="mine.Conv"), FILE, {"mine.Conv"})
    assert named_targets(named(path="mine.Conv")) == {"mine.Conv"}
    with pytest.raises(ConfigError, match=r"model\.conv\.path names mine\.Conv, which is not a class of this"):
        require_trusted(named(path="mine.Conv"), FILE, {"hydra.utils.get_class"})
    for keys in ({}, {"_args_": ["mine.Conv"]}, {"path": "torch.nn.Conv3d", "_args_": ["mine.Conv"]}):
        with pytest.raises(ConfigError, match=r"model\.conv\._target_ names hydra\.utils\.get_class"):
            require_trusted(named(**keys), FILE, {"hydra.utils.get_class"})
