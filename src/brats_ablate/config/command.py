"""Commands that the program prints: they carry the options of the command that is running, quoted for a shell."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from brats_ablate.config.locations import own_config_dir
from brats_ablate.runs.identity import TRAINING_GROUPS
from brats_ablate.runtime.text import shell_quoted

OF_DATA = frozenset({"data", "labels", "paths"})
"""Groups that every command about the same data set needs."""
_OF_RUNS = frozenset({"experiment", "fold", "lr", "seed", "name", "job", "hydra"})
"""Keys of single runs, of this job, and of the launcher."""
_OF_OTHER_RUNS = _OF_RUNS - {"experiment"} | {"design", "paths"}
"""Keys that another run of the same experiment sets for itself, and what chose the run among others."""


def shell_command(*arguments: str) -> str:
    """Return a command line of this program that can be pasted into a shell."""
    return " ".join(["python -m brats_ablate", *map(shell_quoted, arguments)])


def options_of_data(cfg: DictConfig) -> list[str]:
    """Return the options that another command on the data set of `cfg` needs; of a grid, one run's values."""
    own = {option.partition("=")[0]: option for option in (_recorded(cfg) if in_sweep() else [])}
    typed = [own.get(option.partition("=")[0], option) for option in typed_options() if _group(option) in OF_DATA]
    return [*_config_dir_flag(), *_named_data(cfg, typed), *typed]


def options_of_training(cfg: DictConfig) -> list[str]:
    """Return the options that a command needs which trains other runs like this command's, on prepared data."""
    typed = [option for option in typed_options() if _group(option) not in _OF_RUNS and not _is_raw(option)]
    return [*_config_dir_flag(), *_named_data(cfg, typed), *typed]


def options_of_sweep(cfg: DictConfig) -> list[str] | None:
    """Return the options that trains another experiment in the grid of this command; None for that of a -cn file."""
    if not HydraConfig.initialized() or HydraConfig.get().job.config_name != "config":
        return None
    launcher = [o for o in HydraConfig.get().overrides.hydra if o.startswith(("hydra/launcher", "hydra.launcher"))]
    grid = [option for option in typed_options() if _group(option) in ("fold", "lr", "seed")]
    return [*options_of_training(cfg), *grid, *launcher]


def options_of_grid() -> list[str]:
    """Return the options of this command that each run of a grid needs, whose configuration names the rest."""
    return [option for option in typed_options() if _group(option) not in _OF_RUNS]


def options_of_job() -> list[str]:
    """Return the options of this command that are its job's own keys."""
    return [option for option in typed_options() if option.lstrip("+~").startswith("job.")]


def options_of_run(cfg: DictConfig) -> list[str]:
    """Return the recorded options of a run that decide what it trains."""
    return [option for option in _recorded(cfg) if _group(option) in (*TRAINING_GROUPS, "init")]


def record_options(cfg: DictConfig, typed: Sequence[str]) -> None:
    """Write into `about.options` what, of Hydra's overrides, a command needs that trains other folds of the run."""
    if not OmegaConf.is_dict(cfg.get("about")):
        return  # the check of the configuration says so
    texts: Any = OmegaConf.to_container(typed) if OmegaConf.is_config(typed) else typed  # with their interpolations
    kept = [text for text in map(str, texts) if _group(text) not in _OF_OTHER_RUNS and not _is_raw(text)]
    with open_dict(cfg):
        cfg.about.options = escaped(kept)  # to be resolved by that command


def escaped(options: Iterable[str]) -> list[str]:
    """Return options whose interpolations stay as they are when the configuration that has them is resolved."""
    return [text.replace("${", "\\${") for text in options]


def command_of_runs(options: Sequence[str], name: str, of_data: Sequence[str]) -> str:
    """Return a command that trains runs called `name`, without their coordinates.

    Args:
        options: as a finished run recorded them.
        name: of the experiment; a grid or a design made another one than `options` have.
        of_data: options of the data set of the running command.
    """
    named = any(text.lstrip("+") == f"experiment={name}" for text in options)
    others = [text for text in options if text not in of_data]
    return shell_command(*of_data, *others, *([] if named else [f"name={name}"]))


def is_experiment(option: str) -> bool:
    """Return whether an option chooses the experiment."""
    return _group(option) == "experiment"


def chosen(group: str) -> str | None:
    """Return the option of a group that Hydra composed; None for a configuration that Hydra did not compose."""
    return HydraConfig.get().runtime.choices.get(group) if HydraConfig.initialized() else None


def in_sweep() -> bool:
    """Return whether the runs of a sweep are trained in this process."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def experiment_option() -> str | None:
    """Return +experiment=… as this command has it; None without one."""
    return next((option for option in typed_options() if _group(option) == "experiment"), None)


def typed_options() -> list[str]:
    """Return what the command line sets, with its interpolations; [] for what Hydra did not compose."""
    if not HydraConfig.initialized():
        return []
    options: Any = OmegaConf.to_container(HydraConfig.get().overrides.task)
    return [str(option) for option in options]


def _recorded(cfg: DictConfig) -> list[str]:
    """Return what `record_options` wrote; [] if it was not called."""
    return list((cfg.get("about") or {}).get("options") or [])


def _group(option: str) -> str:
    return re.split(r"[=./@]", option.lstrip("+~"))[0]


def _is_raw(option: str) -> bool:
    """Return whether an option says where raw cases are, or which phantoms to make."""
    return option.lstrip("+~").startswith(("data.raw=", "data.list=", "data.phantom."))


def _named_data(cfg: DictConfig, typed: Collection[str]) -> Sequence[str]:
    """Return the option of `data`, and its name if that is another, unless the command line has them."""
    option, keys = chosen("data") or str(cfg.data.name), {text.partition("=")[0].lstrip("+") for text in typed}
    name = [] if cfg.data.name == option or "data.name" in keys else [f"data.name={cfg.data.name}"]
    return [*([] if "data" in keys else [f"data={option}"]), *name]


def own_options() -> Path | None:
    """Return the folder that the command line names by -cd, if it has options of groups."""
    folder = own_config_dir()
    return folder if folder is not None and any(folder.glob("*/*.yaml")) else None


def _config_dir_flag() -> list[str]:
    """Return -cd with its folder; a folder `conf` here is found without it."""
    folder = own_options()
    if folder is None or folder.resolve() == Path("conf").resolve():
        return []
    inside = os.path.relpath(folder)
    return ["-cd", str(folder) if inside.startswith("..") else inside]
