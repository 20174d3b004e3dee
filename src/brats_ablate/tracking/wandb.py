"""Where metrics are shown besides the run directory: nowhere, or Weights & Biases. The only module that knows wandb."""

from __future__ import annotations

import netrc
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from brats_ablate.runtime.files import atomic_write
from brats_ablate.tracking.base import RunInfo, TableText

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURE = "picture"
"""Under what name the picture of a validation case is shown."""


class WandbTracker:
    """One W&B run per training run, grouped by experiment, with the epoch as the axis of every curve."""

    def __init__(
        self, run: RunInfo, project: str, entity: str | None, mode: Literal["auto", "online", "offline"]
    ) -> None:
        import wandb

        run.folder.mkdir(parents=True, exist_ok=True)
        self.wandb_run = wandb.init(
            project=project,
            entity=entity,
            mode=_resolved(mode),
            dir=str(run.folder),
            id=run.tracking_id,
            resume="allow",
            name=run.name,
            group=run.group,
            job_type=run.job,
            tags=run.tags,
            notes=run.question,
            config=dict(run.config),
            settings=wandb.Settings(silent=True, console="off"),
        )
        self._pictures = run.folder / "wandb" / "pictures"
        self._shown: Image | None = None
        self._dice: dict[int, float] = {}
        if run.job == "train":
            self.wandb_run.define_metric("epoch")
            self.wandb_run.define_metric("*", step_metric="epoch")
            self.wandb_run.define_metric("dice", step_metric="epoch", summary="max")

    def show(self, draw: Callable[[], Image]) -> None:
        """Keep the picture for the epoch that `log` is told of next."""
        self._shown = draw()

    def log(self, row: dict[str, Any]) -> None:
        """One epoch's line of metrics.jsonl; with a picture where it is better than every epoch before it.

        Pictures are kept as files, so that a resumed run, which tells its record again, tells them too. The epoch in
        which it was killed comes a second time.
        """
        picture, self._shown = self._shown, None
        best = max((dice for epoch, dice in self._dice.items() if epoch < row["epoch"]), default=-1.0)
        if row.get("dice", -1.0) <= best:
            self.wandb_run.log(row)
            return
        import wandb

        self._dice[row["epoch"]] = row["dice"]
        file = self._pictures / f"epoch={row['epoch']:04d}.png"
        if picture is not None:
            with atomic_write(file) as temporary:
                picture.save(temporary, format="PNG")
        shown = {PICTURE: wandb.Image(str(file), caption=_caption(row))} if file.exists() else {}
        self.wandb_run.log({**row, **shown})

    def log_tables(self, tables: Callable[[], Sequence[TableText]]) -> None:
        """Every table as a W&B Table under its own name."""
        import wandb

        self.wandb_run.log(
            {t.name: wandb.Table(columns=_unique(t.header), data=[list(row) for row in t.rows]) for t in tables()}
        )

    def finish(self) -> None:
        """Write what is still under way."""
        self.wandb_run.finish()


def _caption(row: Mapping[str, Any]) -> str:
    return f"epoch {row['epoch']}, mean Dice of the fold {row['dice']:.4f}"


def _unique(header: Sequence[str]) -> list[str]:
    """ "paper" stands beside every column, and a W&B Table wants every name once."""
    return [f"{header[i - 1]} paper" if text == "paper" else text or "row" for i, text in enumerate(header)]


def _resolved(mode: str) -> Literal["online", "offline"]:
    """`auto` is what WANDB_MODE says, else online where a login exists (WANDB_API_KEY or `wandb login`)."""
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if _logged_in() else "offline")
    return "online" if mode == "online" else "offline"


def _logged_in() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc().authenticators(host) is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        return False
