"""The layouts of file names in the configuration's folders, by the name of their option."""

from __future__ import annotations

from brats_ablate.config.locations import option_files, read_option
from brats_ablate.data.layouts import Layout
from brats_ablate.errors import ConfigError


def known_layouts() -> dict[str, Layout]:
    """Return every layout that an option of data/layout declares.

    Raises:
        ConfigError: a file is no layout.
    """
    layouts = {}
    for option, file in option_files("data/layout").items():
        tree = read_option("data/layout", option)
        try:
            layouts[option] = Layout(**tree)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{file}: {error}; correct it") from error
    return layouts
