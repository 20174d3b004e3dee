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


def config_dirs() -> list[Path]:
    """Return the folders with configuration groups: the installation's, then the command line's -cd folder."""
    own = own_config_dir()
    return [resource_dir("conf"), *([own] if own else [])]


def experiment_names() -> list[str]:
    """Return the names of all experiments, sorted."""
    return sorted({file.stem for folder in config_dirs() for file in (folder / "experiment").glob("*.yaml")})


def table_dirs() -> list[Path]:
    """Return the folders with tables; a table of a later folder replaces one of the same name."""
    own = own_config_dir()
    return [resource_dir("experiments"), Path("experiments"), *([own / "experiments"] if own else [])]


def make_importable(folders: Iterable[Path]) -> None:
    """Let modules in `folders` be imported in this process and in all that it starts."""
    paths = [str(folder) for folder in folders]
    sys.path[:0] = [path for path in paths if path not in sys.path]
    inherited = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*paths, *inherited]))
