"""The sweeper: Hydra's own grid, without composing every run a second time, as our launchers compose and check them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

CONFIGURATION_ERROR = 2


class GridSweeper(BasicSweeper):
    """`hydra/sweeper=grid`."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Left to the launcher."""

    def sweep(self, arguments: list[str]) -> None:
        """Launch the grid. A sweep that is refused leaves no folder behind, though Hydra makes one first."""
        assert self.config is not None
        folder = Path(self.config.hydra.sweep.dir)
        absent = [path for path in (folder, *folder.parents) if not path.exists()]
        try:
            super().sweep(arguments)
        except SystemExit as refusal:
            if refusal.code != CONFIGURATION_ERROR:
                raise
            (folder / "multirun.yaml").unlink(missing_ok=True)
            for path in absent:
                if path.is_dir() and not any(path.iterdir()):
                    path.rmdir()
            raise
