"""The layouts of file names in the configuration's folders, by the name of their option."""

from __future__ import annotations

import yaml

from brats_ablate.config.locations import config_dirs
from brats_ablate.data.layouts import Layout
from brats_ablate.errors import ConfigError


def known_layouts() -> dict[str, Layout]:
    """Return every layout that an option of data/layout declares.

    Raises:
        ConfigError: a file is no layout.
    """
    layouts = {}
    for file in (file for folder in config_dirs() for file in sorted((folder / "data" / "layout").glob("*.yaml"))):
        try:
            layouts[file.stem] = Layout(**yaml.safe_load(file.read_text(encoding="utf-8")))
        except (TypeError, ValueError, yaml.YAMLError) as error:
            raise ConfigError(f"{file}: {error}; correct it") from error
    return layouts
