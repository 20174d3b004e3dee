"""Folders of configuration, tables and code: those of the installation, and the user's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from brats_ablate.errors import ConfigError
from brats_ablate.runtime.text import first_line

PACKAGE = Path(__file__).resolve().parents[1]
TABLES = "experiments"
"""Name of the folders with tables."""
_WRITES_A_FILE = ("brats_ablate.jobs.report.run",)
_WRITES_A_FOLDER = ("brats_ablate.jobs.describe.run", "brats_ablate.jobs.export.run")
"""Jobs whose `output` is a path."""
_CONFIG_DIR = "BRATS_ABLATE_CONFIG_DIR"
"""The command's -cd folder, for the processes that it starts."""


def resource_dir(name: str, package: Path = PACKAGE) -> Path:
    """Return the installation's folder `name` (conf, experiments or sweeps): inside the package or in its checkout."""
    packaged = package / name
    return packaged if packaged.is_dir() else package.parents[1] / name


def own_config_dir() -> Path | None:
    """Return the folder that the command line names by -cd (--config-dir), or that of the command that started this."""
    for argument, following in zip(sys.argv, [*sys.argv[1:], ""], strict=True):
        flag, _, value = argument.partition("=")
        if flag in ("-cd", "--config-dir"):
            return Path(value or following).absolute()
    inherited = os.environ.get(_CONFIG_DIR)
    return Path(inherited) if inherited else None


def pass_on_config_dir() -> None:
    """Let what this command starts, such as a submitted job, find its -cd folder."""
    os.environ[_CONFIG_DIR] = ""  # of another command around this one
    os.environ[_CONFIG_DIR] = str(own_config_dir() or "")


def own_conf() -> Path | None:
    """Return the folder `conf` of the current directory, unless it is the installation's."""
    folder = Path("conf").absolute()
    return folder if folder.is_dir() and folder.resolve() != resource_dir("conf").resolve() else None


def own_config_dirs() -> list[Path]:
    """Return the folders with the user's own configuration: `conf` here, then the command line's -cd folder."""
    return list(dict.fromkeys(folder for folder in (own_conf(), own_config_dir()) if folder is not None))


def config_dirs() -> list[Path]:
    """Return the folders with configuration groups: the installation's, then the user's."""
    return [resource_dir("conf"), *own_config_dirs()]


def check_names() -> None:
    """Check that no option of a folder has the name of one in an earlier folder, which Hydra reads in its place.

    Raises:
        ConfigError: one has, and another content.
    """
    for earlier, later in combinations(config_dirs(), 2):
        for file in sorted(earlier.rglob("*.yaml")):
            inside = file.relative_to(earlier)
            # Of tables the later folder's is read; other programs have a conf/config.yaml, too.
            is_option = inside.parts[0] != TABLES and (len(inside.parts) > 1 or later != own_conf())
            own = later / inside
            if is_option and own.is_file() and own.read_bytes() != file.read_bytes():
                raise ConfigError(
                    f"{own} is not read, as {file} has the same name; rename it, or start the command elsewhere"
                )


def check_outputs(cfg: DictConfig) -> None:
    """Check that what `cfg` names as a folder is no file, nor below one, and that what it names as a file is no folder.

    Raises:
        ConfigError: one is; names the key.
    """
    folders = {f"paths.{key}": place for key, place in cfg.paths.items()}
    files = {"job.json": cfg.job.get("json")}
    if (target := cfg.job.get("_target_")) in _WRITES_A_FILE:
        files["job.output"] = cfg.job.output
    elif target in _WRITES_A_FOLDER:
        folders["job.output"] = cfg.job.output
    for key, place in folders.items():
        path = Path(str(place or "."))
        for each in (*reversed(path.parents), path):
            if each.exists() and not each.is_dir():
                through = "" if each == path else f": {each}"
                raise ConfigError(f"{key}={path}{through} is a file; name a folder")
    for key, place in files.items():
        if place is not None and Path(str(place)).is_dir():
            raise ConfigError(f"{key}={place} is a folder; name a file in it")


def option_files(group: str) -> dict[str, Path]:
    """Return the files of a group's options by name, sorted; the first folder's of one name, as Hydra reads it."""
    files = (file for folder in reversed(config_dirs()) for file in (folder / group).glob("*.yaml"))
    return dict(sorted({file.stem: file for file in files}.items()))


def read_option(group: str, name: str) -> dict[str, Any]:
    """Return the content of an option, merged with those of its group that its `defaults` name.

    Raises:
        ConfigError: it cannot be read, or its `defaults` have more than names.
    """
    file = option_files(group)[name]
    try:
        tree: Any = OmegaConf.load(file)
        defaults = list(map(str, tree.pop("defaults", [])))
        parts = [*defaults, *([] if "_self_" in defaults else ["_self_"])]
        if unknown := [part for part in parts if part not in ("_self_", *option_files(group))]:
            raise ConfigError(f"{file}: {unknown[0]} in its defaults is no option of {group}; name those only")
        merged = OmegaConf.merge(*(tree if part == "_self_" else read_option(group, part) for part in parts))
        content: Any = OmegaConf.to_container(merged)
        return dict(content)
    except RecursionError as error:
        raise ConfigError(f"{file}: its defaults lead back to itself; correct them") from error
    except (AttributeError, TypeError, OmegaConfBaseException, OSError, ValueError, YAMLError) as error:
        raise ConfigError(f"{file}: {first_line(error)}; correct it") from error


def table_dirs() -> list[Path]:
    """Return the folders with tables; a table of a later folder replaces one of the same name."""
    return [resource_dir(TABLES), Path(TABLES), *(own / TABLES for own in own_config_dirs())]


def make_importable(folders: Iterable[Path]) -> None:
    """Let modules in `folders` be imported in this process and in all that it starts."""
    paths = [str(folder) for folder in folders]
    sys.path[:0] = [path for path in paths if path not in sys.path]
    inherited = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*paths, *inherited]))
