from __future__ import annotations

from collections.abc import Callable

from omegaconf import DictConfig, OmegaConf, open_dict

from brats_ablate.config.command import command_of_runs, record_options

TYPED = [
    *("+experiment=ds", "fold=0,1", "lr=1e-3", "trainer=cpu", "~model.gate", "data=msd", "data.raw=/data/a b"),
    *("job=train", "name=mine", "design=full", "+design.factors.a.inputs=onehot", "paths.work=/elsewhere"),
    "init.checkpoint=work/runs/ds/fold=${fold}/lr=0.0007/seed=0",
]
KEPT = ["+experiment=ds", "trainer=cpu", "~model.gate", "data=msd", TYPED[-1]]


def test_what_other_folds_need_is_recorded_as_it_was_typed(composition: Callable[..., DictConfig]) -> None:
    cfg = composition("fold=3")
    with open_dict(cfg):
        cfg.typed = TYPED
    record_options(cfg, cfg.typed)
    assert list(cfg.about.options) == KEPT
    resolved = OmegaConf.to_container(cfg, resolve=True)
    assert resolved["about"]["options"] == KEPT, "an interpolation is that of the next command"
    del cfg.about
    record_options(cfg, cfg.typed)
    assert "about" not in cfg


def test_a_command_of_runs_has_their_options_and_their_name() -> None:
    data = ["data=msd", "data.n_folds=2"]
    ds = "python -m brats_ablate data=msd data.n_folds=2 +experiment=ds trainer=cpu"
    assert command_of_runs(["+experiment=ds", "trainer=cpu", "data=msd"], "ds", data) == ds
    assert command_of_runs(["+experiment=ds", "trainer=cpu"], "ds_onehot", data) == f"{ds} name=ds_onehot"
    assert command_of_runs([], "default", []) == "python -m brats_ablate name=default"
