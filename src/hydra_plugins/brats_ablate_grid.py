"""The sweeper: Hydra's grid without composing every run a second time; our launchers compose and check them.

`BasicSweeper`, Hydra's default sweeper, has no public import path; it is imported here only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper


class GridSweeper(BasicSweeper):
    """`hydra/sweeper=grid`."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Do nothing: the launcher checks the runs."""

    def sweep(self, arguments: list[str]) -> None:
        """Launch the grid in a folder of its own; remove the folder if the sweep is refused.

        Others can neither read it, as `setup` lines can hold secrets, nor write it, as its jobs unpickle what is in it.
        """
        from brats_ablate.config.locations import check_outputs
        from brats_ablate.errors import ConfigError
        from brats_ablate.launch.submission import make_launch_folder

        assert self.config is not None
        folder = Path(self.config.hydra.sweep.dir)
        new_folders = [path for path in (folder, *folder.parents) if not path.exists()]
        try:
            make_launch_folder(folder)
        except (FileExistsError, NotADirectoryError):
            check_outputs(self.config)  # which names the key
            raise
        try:
            super().sweep(arguments)
        except SystemExit as leaving:
            if leaving.code == ConfigError.exit_code:
                (folder / "multirun.yaml").unlink(missing_ok=True)
                for path in new_folders:
                    if path.is_dir() and not any(path.iterdir()):
                        path.rmdir()
            raise
