"""The label schemes of the configuration's folders, by the name of their option."""

from __future__ import annotations

from pathlib import Path

import yaml

from brats_ablate.config.locations import config_dirs
from brats_ablate.errors import ConfigError
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.runtime.text import suggest


def scheme_named(option: str) -> LabelScheme:
    """Return the scheme of `conf/labels/<option>.yaml`.

    Raises:
        ConfigError: there is no such option, or it is no scheme.
    """
    files = _files()
    if option not in files:
        raise ConfigError(f"labels={option} does not exist; {suggest(option, files)}")
    return _read(files[option])


def known_schemes() -> list[LabelScheme]:
    """Return every scheme that an option of labels declares."""
    return [_read(file) for file in _files().values()]


def _files() -> dict[str, Path]:
    return {file.stem: file for folder in config_dirs() for file in sorted((folder / "labels").glob("*.yaml"))}


def _read(file: Path) -> LabelScheme:
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
        return LabelScheme(**{key: value for key, value in tree.items() if key != "_target_"})
    except (TypeError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise ConfigError(f"{file}: {error}; correct it") from error
