"""Log runs for TensorBoard. Only this module imports tensorboard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brats_ablate.runtime.files import to_json, write_text
from brats_ablate.tracking.base import NewBest, RunInfo, ValidationImage

if TYPE_CHECKING:
    from pandas import DataFrame

FOLDER = "tensorboard"
"""In a run directory: `tensorboard --logdir <paths.runs>` shows the runs of a study by their coordinates."""
_LAST_EPOCH, _NONE = "last_epoch", -1


class TensorBoardTracker:
    """One folder of event files per run. The axis of every curve is the number of finished steps.

    Args:
        run: what is logged.
        every_steps: log the metrics of each so many steps; those of epochs are means over all steps.
    """

    requires = "tensorboard"
    """The package that it needs."""

    def __init__(self, run: RunInfo, every_steps: int = 10) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._run, self._every_steps = run, every_steps
        self._folder = run.folder / FOLDER
        self._open = partial(SummaryWriter, str(self._folder))
        self._writer: SummaryWriter | None = None
        self._pending_image: ValidationImage | None = None
        self._is_new_best = NewBest()

    @property
    def writer(self) -> Any:
        """The writer, which is opened at first use."""
        if self._writer is None:
            self._writer = self._open()
        return self._writer

    def resume(self, step: int, rows: Sequence[dict[str, Any]]) -> None:
        """Hide what an earlier start logged after `step`, and log the epochs that are not in the event files."""
        recorded = self._recorded_epoch()
        self._writer = self._open(purge_step=0 if recorded is None or step == 0 else step + 1)
        if recorded is None:  # the reader hides no texts, so they are logged once
            self._log_settings()
            self._record_epoch(_NONE)
        for row in rows:
            if recorded is not None and row["epoch"] <= recorded:
                self._is_new_best(row)
            else:
                self.log(row)

    def log_step(self, step: int, values: Mapping[str, float]) -> None:
        """Log every so many steps' metrics, from the first step on."""
        if (step - 1) % self._every_steps == 0:
            for name, value in values.items():
                self.writer.add_scalar(f"step/{name}", value, step)

    def log_image(self, make_image: Callable[[], ValidationImage]) -> None:
        """Keep the image for the epoch that is logged next."""
        self._pending_image = make_image()

    def log(self, row: dict[str, Any]) -> None:
        """Log one epoch's line of metrics.jsonl; with an image if its Dice is higher than in every epoch before."""
        import numpy as np

        image, self._pending_image = self._pending_image, None
        step = int(row["step"])
        for name, value in row.items():
            if value is not None and name != "step":
                self.writer.add_scalar(name, value, step)
        if self._is_new_best(row) and image is not None:
            self.writer.add_image("picture", np.asarray(image.drawn), step, dataformats="HWC")
        self.writer.flush()  # before the checkpoint of this epoch, from which a killed run continues
        self._record_epoch(row["epoch"])

    def log_checkpoints(self, files: Sequence[Path]) -> None:
        """Do nothing: TensorBoard shows no files."""

    def log_tables(self, tables: Mapping[str, DataFrame]) -> None:
        """Log every table as text under its name, after those of earlier calls."""
        earlier = len(list(self._folder.glob("events.out.tfevents.*")))
        for name, frame in tables.items():
            rows = [list(frame.columns), ["---"] * frame.shape[1], *frame.astype(object).fillna("").to_numpy().tolist()]
            text = "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)
            self.writer.add_text(name, text, earlier)

    def finish(self) -> None:
        """Write what is pending and close the event file."""
        if self._writer is not None:
            self._writer.close()

    def _log_settings(self) -> None:
        """Log the configuration as text, and what the tab HParams groups and sorts runs by."""
        from torch.utils.tensorboard.summary import hparams

        config = self._run.config
        self.writer.add_text("config", f"```\n{to_json(config, indent=1, default=str)}\n```")
        shown = {key: config[key] for key in ("experiment", "fold", "lr", "seed", "parameters") if key in config}
        for summary in hparams(shown, {"dice": 0.0}):
            self.writer.file_writer.add_summary(summary)

    def _record_epoch(self, epoch: int) -> None:
        write_text(self._folder / _LAST_EPOCH, f"{epoch}\n")

    def _recorded_epoch(self) -> int | None:
        """Return the last epoch in the event files, `_NONE` if they have only steps; None if there are no files."""
        file = self._folder / _LAST_EPOCH
        return int(file.read_text(encoding="utf-8")) if file.exists() else None
