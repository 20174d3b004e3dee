"""`init.checkpoint`: the file that it names and the checksum of its content, before anything is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from brats_ablate.config.check import resolve
from brats_ablate.errors import ConfigError
from brats_ablate.jobs.component_check import trains_or_plans
from brats_ablate.launch.sweep import run_directory
from brats_ablate.runs.identity import identity
from brats_ablate.runs.weights_source import checkpoint_file, content_checksum, data_of, leak, run_of, trained_on
from brats_ablate.runtime.files import read_json


def use_initial_weights(cfg: DictConfig) -> None:
    """Set `init` in `cfg` to the file and the checksum of the weights that a run starts from, if it has any.

    A run that has saved its state, or finished, does not need them any more: if they are gone, what it recorded counts.

    Args:
        cfg: a composed configuration, with the prepared data's folds; changed in place.

    Raises:
        ConfigError: there is no such checkpoint, it is damaged, or not what `init.checksum` says; or it was trained on
            cases that the run validates on.
    """
    init: Any = OmegaConf.select(cfg, "init")
    if init is None or init.get("checkpoint") is None or not trains_or_plans(cfg):
        return
    path, expected = Path(str(init.checkpoint)).absolute(), init.get("checksum")
    try:
        file = checkpoint_file(path)
        checksum = content_checksum(file)
    except ConfigError:
        recorded = _recorded(cfg, path)
        if recorded is None:
            raise
        file, checksum = Path(recorded["checkpoint"]), recorded["checksum"]
    if expected not in (None, checksum):
        raise ConfigError(
            f"init.checkpoint={file} has changed: its checksum is {checksum}, not init.checksum={expected}; put the "
            "file back, or start a run of another name= from it"
        )
    with open_dict(cfg):
        cfg.init = {"checkpoint": str(file), "checksum": checksum}
    if (run := run_of(file)) is not None:
        for source in trained_on(run):
            require_no_leak(cfg, source)


def require_no_leak(cfg: DictConfig, source: dict[str, Any]) -> None:
    """Raise ConfigError if weights of `source`, see `weights_source.trained_on`, saw validation cases of this run."""
    head = read_json(Path(str(cfg.paths.prepared)) / "cohort.json")
    ours = data_of(identity(resolve(cfg))) | {"data_fingerprint": head.get("fingerprint")}
    if (sentence := leak(source, ours)) is not None:
        raise ConfigError(f"init.checkpoint: the weights of {cfg.init.checkpoint} {sentence}")


def _recorded(cfg: DictConfig, path: Path) -> dict[str, Any] | None:
    """Return what a run with saved state, or a finished one, recorded of its initial weights at or below `path`."""
    run = run_directory(cfg)
    init = run.config().get("init") or {} if run.last_checkpoint.exists() or run.is_finished() else {}
    return init if init.get("checkpoint") and Path(init["checkpoint"]).is_relative_to(path) else None
