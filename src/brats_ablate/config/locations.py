"""Folders of configuration, tables and code: those of the installation, and the user's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def resource_dir(name: str, package: Path = PACKAGE) -> Path:
    """Return the installation's folder `name` (conf, experiments or sweeps): inside the package or in its checkout."""
    packaged = package / name
    return packaged if packaged.is_dir() else package.parents[1] / name


def own_config_dir() -> Path | None:
    """Return the folder that the command line names by -cd (--config-dir)."""
    for argument, following in zip(sys.argv, [*sys.argv[1:], ""], strict=True):
        flag, _, value = argument.partition("=")
        if flag in ("-cd", "--config-dir"):
            return Path(value or following).absolute()
    return None


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


def experiment_names() -> list[str]:
    """Return the names of all experiments, sorted."""
    return sorted({file.stem for folder in config_dirs() for file in (folder / "experiment").glob("*.yaml")})


def table_dirs() -> list[Path]:
    """Return the folders with tables; a table of a later folder replaces one of the same name."""
    return [resource_dir("experiments"), Path("experiments"), *(own / "experiments" for own in own_config_dirs())]


def make_importable(folders: Iterable[Path]) -> None:
    """Let modules in `folders` be imported in this process and in all that it starts."""
    paths = [str(folder) for folder in folders]
    sys.path[:0] = [path for path in paths if path not in sys.path]
    inherited = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*paths, *inherited]))
