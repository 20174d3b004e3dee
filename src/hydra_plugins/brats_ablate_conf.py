"""Hydra finds the options of a folder `conf` in the current directory also where -cd names another folder."""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class OwnConfPlugin(SearchPathPlugin):
    """Adds the folder; Hydra itself adds that of -cd."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the user's `conf`, if there is one that -cd does not name."""
        from brats_ablate.config.locations import own_conf, own_config_dir

        folder = own_conf()
        if folder is not None and folder != own_config_dir():
            search_path.append("brats-ablate", f"file://{folder}")
