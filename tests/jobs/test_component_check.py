"""Parts of others are imported before a run starts, and what is wrong with them is one sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from brats_ablate.config.check import check
from brats_ablate.errors import ConfigError
from brats_ablate.jobs.build import instantiate
from brats_ablate.jobs.component_check import check_components

Composition = Callable[..., DictConfig]

MODULES = {
    "own_needs": "import no_such_package\n\nclass Part:\n    pass\n",
    "own_broken": "class Part(:\n",
    "own_fails": "class Part:\n    pass\n\n{}.nothing\n",
    "own_value": "Part = int('3')\n",
    "own_folder/own_inner": "from no_such_package import x\n\nclass Part:\n    pass\n",
    "own_good": "class Part:\n    class Nested:\n        pass\n",
}
SENTENCES = {
    "own_needs.Part": "cannot be loaded (ModuleNotFoundError: No module named 'no_such_package'); install the package of no_",
    "own_broken.Part": "own_broken.py, line 1: invalid syntax); correct that file",
    "own_fails.Part": "cannot be loaded (AttributeError: 'dict' object has no attribute 'nothing'); correct its module",
    "own_value.Part": "own_value.Part, which is no class or function; correct the name",
    "own_folder.own_inner.Part": "cannot be loaded (ModuleNotFoundError: No module named 'no_such_package'); install the pack",
    "own_folder.own_iner.Part": "there is no module own_folder.own_iner; correct the name",
    "own_god.Part": "there is no module own_god; correct the name, or install its package",
    "own_good.Prt": "own_good has no Prt; correct the name",
    "own_good.Part.Nestd": "own_good.Part has no Nestd); correct the name",
    "own_good": "own_good names no module; write <module>.<class>",
    "torch.optm.SGD": "torch has no optm); correct the name",
    "torch.nn.NoSuchLoss": "torch.nn has no NoSuchLoss); correct the name",
}


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_folder").mkdir()
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))


def checked(cfg: DictConfig) -> None:
    check(cfg)
    check_components(cfg)


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize("group", ["loss", "optimizer", "schedule", "tracker", "augment"])
@pytest.mark.parametrize("target", SENTENCES)
def test_what_cannot_be_imported_is_one_sentence(composition: Composition, group: str, target: str) -> None:
    cfg = composition()
    node: dict[str, object] = {"_target_": target}
    if group == "augment":
        node = {"_target_": "brats_ablate.transforms.compose.Compose", "transforms": {"mine": node}}
    cfg[group] = OmegaConf.create(node)
    with pytest.raises(ConfigError) as error:
        checked(cfg)
    assert str(error.value).startswith(group)
    assert SENTENCES[target] in str(error.value)
    assert "\n" not in str(error.value)


def test_the_program_itself_is_no_module(composition: Composition, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    cfg = composition()
    cfg.loss = OmegaConf.create({"_target_": "__main__.Loss"})
    with pytest.raises(ConfigError, match=r"^loss\._target_: there is no module __main__; correct the name"):
        check(cfg)


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize("target", ["own_good.Part.Nested", "collections.Counter", "builtins.dict", "os.getcwd"])
def test_what_exists_passes(composition: Composition, target: str) -> None:
    cfg = composition()
    cfg.tracker = OmegaConf.create({"_target_": target})
    checked(cfg)


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize("target", ["own_needs.Part", "own_broken.Part", "own_folder.own_inner.Part"])
def test_jobs_that_train_nothing_import_a_part_when_they_build_it(composition: Composition, target: str) -> None:
    cfg = composition("job=evaluate")
    cfg.metrics.extra = {"mine": {"_target_": target, "_partial_": True}}
    check_components(cfg)
    with pytest.raises(ConfigError, match=rf"metrics\.extra\.mine\._target_ names {target}, which cannot be loaded"):
        instantiate(cfg.metrics)


@pytest.mark.slow
@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (
            "{_target_:no_such_package.Net}",
            "network._target_ names no_such_package.Net, and there is no package no_such_package; run `pip install no_s",
        ),
        (
            "{_target_:monai.nets.Net}",
            "network._target_ names monai.nets.Net, which does not exist (monai has no nets)",
        ),
        ("{_target_:own_needs.Part}", "install the package of no_such_package, or correct the import"),
        ("{_target_:own_broken.Part}", "line 1: invalid syntax); correct that file"),
        (
            "{_target_:monai.networks.nets.UNet,act:{_target_:hydra.utils.get_class,path:torch.nn.NoSuch}}",
            "model.network.act.path names torch.nn.NoSuch, which does not exist (torch.nn has no NoSuch)",
        ),
    ],
)
def test_networks_name_what_to_install_or_correct(composition: Composition, network: str, sentence: str) -> None:
    cfg = composition("model=external", f"++model.network={network}")
    with pytest.raises(ConfigError) as error:
        check_components(cfg)
    assert sentence in str(error.value)


def test_nnunet_names_its_extra_where_it_is_not_installed(
    composition: Composition, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("dynamic_network_architectures")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "dynamic_network_architectures", None)  # Python's way to say that it is not there
    cfg = composition("model=nnunet")
    check(cfg)
    with pytest.raises(ConfigError, match=r"run `pip install 'brats-ablate\[nnunet\]'`, or correct the name"):
        check_components(cfg)


LOSSES = """
from torch import nn


class Unreduced(nn.Module):
    def forward(self, logits, targets):
        return (logits - targets) ** 2


class PerSample(nn.Module):
    def forward(self, logits, targets):
        return (logits - targets).mean((1, 2, 3, 4))


class Single(nn.Module):
    def forward(self, logits, targets):
        return (logits - targets).mean().reshape(1)


class Number(nn.Module):
    def forward(self, logits, targets):
        return float(logits.sum())


class NoTerms:
    def __call__(self, logits, labels):
        return logits.sum()


class Terms:
    def __call__(self, logits, labels):
        return {"sum": logits.sum(), "per_region": logits.sum((0, 2, 3, 4))}


class NoCall:
    pass


class LargePatches(nn.Module):
    def forward(self, logits, targets):
        raise RuntimeError("needs larger patches")


class Needs(nn.Module):
    def __init__(self, **kwargs):
        super().__init__()
        len(kwargs["weights"])
"""


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (
            "own_losses.Unreduced",
            "loss: Unreduced returns a tensor of shape [2, 3, 16, 16, 16], not a scalar tensor; re",
        ),
        ("own_losses.PerSample", "loss: PerSample returns a tensor of shape [2], not a scalar tensor"),
        ("own_losses.Number", "loss: Number returns a float, not a scalar tensor; return its mean or sum"),
        ("own_losses.NoTerms", "loss: NoTerms must return a dict of named terms, or be a torch.nn.Module"),
        (
            "own_losses.Terms",
            "loss: per_region returns a tensor of shape [3], not a scalar tensor; return its mean or sum",
        ),
        (
            "own_losses.Needs",
            "loss: own_losses.Needs cannot be constructed (KeyError: 'weights'; own_losses.py, line 47); correct its arg",
        ),
        ("own_losses.NoCall", "loss: NoCall cannot be called; make it a torch.nn.Module"),
        ("own_losses.Single", None),
        ("own_losses.LargePatches", None),
        ("monai.losses.DiceLoss", None),
    ],
)
def test_a_loss_must_return_a_scalar(
    composition: Composition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, sentence: str | None
) -> None:
    (tmp_path / "own_losses.py").write_text(LOSSES)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_losses", raising=False)
    cfg = composition()
    cfg.loss = OmegaConf.create({"_target_": target})
    if sentence is None:
        check_components(cfg)
        return
    with pytest.raises(ConfigError) as error:
        check_components(cfg)
    assert sentence in str(error.value)


PARTS = """
import torch


class Optimizer(torch.optim.SGD):
    def __init__(self, params, lr, **options):
        super().__init__(params, lr, **options)


class Hidden(torch.optim.SGD):
    def __init__(self, params, lr):
        super().__init__(list(params)[2:-2], lr)


class Part:
    def __init__(self, bounds):
        self.low, self.high = bounds


class Binds:
    def __init__(self, **options):
        (lambda p: p)(**options)


class OneArgument:
    def factor(self, step):
        return 1.0


class NoNumber:
    def factor(self, step, total_steps):
        pass


class NeedsGpu:
    def __init__(self):
        raise RuntimeError("No CUDA GPUs are available")


class Missing:
    def __init__(self, **options):
        self.p = options["p"]


class Asserts:
    def __init__(self, reason):
        assert not reason, reason
"""


@pytest.mark.parametrize(
    ("group", "node", "sentence"),
    [
        (
            "optimizer",
            {"_target_": "own_parts.Optimizer", "momentun": 0.9},
            "optimizer: own_parts.Optimizer cannot be constructed (TypeError: SGD.__init__() got an unexpected keyword "
            "argument 'momentun'; own_parts.py, line 7); correct its arguments",
        ),
        (
            "schedule",
            {"_target_": "own_parts.Part", "bounds": 1},
            "schedule: own_parts.Part cannot be constructed (TypeError: cannot unpack non-iterable int object; "
            "own_parts.py, line 17); correct its arguments",
        ),
        (
            "augment",
            {
                "_target_": "brats_ablate.transforms.compose.Compose",
                "transforms": {"a": {"_target_": "own_parts.Binds"}},
            },
            "augment.transforms.a: own_parts.Binds cannot be constructed (TypeError: Binds.__init__.<locals>.<lambda>() "
            "missing 1 required positional argument: 'p'; own_parts.py, line 22); correct its arguments",
        ),
        (
            "augment",
            {
                "_target_": "brats_ablate.transforms.compose.Compose",
                "transforms": {"a": {"_target_": "own_parts.Missing"}},
            },
            "augment.transforms.a: own_parts.Missing cannot be constructed (KeyError: 'p'; own_parts.py, line 42); correct",
        ),
        (
            "schedule",
            {"_target_": "own_parts.OneArgument"},
            "schedule: OneArgument needs a method factor(step, total_steps) that returns a number (OneArgument.factor() "
            "takes 2 positional arguments but 3 were given); correct it",
        ),
        ("schedule", {"_target_": "own_parts.NoNumber"}, "schedule: NoNumber needs a method factor(step, total_steps)"),
        ("schedule", {"_target_": "builtins.dict"}, "schedule: dict needs a method factor(step, total_steps) that"),
        ("schedule", {"_target_": "own_parts.NeedsGpu"}, None),
        ("schedule", {"_target_": "own_parts.Asserts", "reason": "Torch not compiled with CUDA enabled"}, None),
        (
            "schedule",
            {"_target_": "own_parts.Asserts", "reason": "p > 1"},
            "schedule: own_parts.Asserts cannot be constructed (AssertionError: p > 1; own_parts.py, line 47); correct its",
        ),
        ("optimizer", {"_target_": "own_parts.Hidden"}, None),
        ("optimizer", {"_target_": "torch.optim.SGD", "nesterov": True}, "optimizer: Nesterov momentum requires a mo"),
        (
            "patches",
            {"_target_": "collections.deque", "maxlen": "x"},
            "patches: collections.deque cannot be constructed (",
        ),
    ],
    ids=lambda value: str(value.get("_target_")) if isinstance(value, dict) else "",
)
def test_a_part_that_rejects_its_arguments_is_one_sentence(
    composition: Composition,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    group: str,
    node: dict[str, object],
    sentence: str | None,
) -> None:
    (tmp_path / "own_parts.py").write_text(PARTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_parts", raising=False)
    cfg = composition()
    cfg[group] = OmegaConf.create(node)
    if sentence is None:
        check_components(cfg)
        return
    with pytest.raises(ConfigError) as error:
        check_components(cfg)
    assert str(error.value).startswith(sentence)
    assert "\n" not in str(error.value)
