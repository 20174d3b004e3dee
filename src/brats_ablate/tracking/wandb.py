"""Log runs to Weights & Biases. Only this module and `dashboard` import wandb."""

from __future__ import annotations

import netrc
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import urlsplit

from brats_ablate.runtime.files import atomic_write
from brats_ablate.tracking.base import RunInfo

if TYPE_CHECKING:
    from pandas import DataFrame
    from PIL.Image import Image

_PATIENCE_S = 15
"""For the first contact with W&B; after it, runs are logged offline."""
IMAGE_KEY = "picture"
"""The W&B key of the image of a validation case."""


class WandbTracker:
    """One W&B run per training run, grouped by experiment, with the epoch as the axis of every curve."""

    def __init__(
        self, run: RunInfo, project: str, entity: str | None, mode: Literal["auto", "online", "offline", "disabled"]
    ) -> None:
        import wandb

        run.folder.mkdir(parents=True, exist_ok=True)
        start = partial(
            wandb.init,
            project=project,
            entity=entity,
            dir=str(run.folder),
            id=run.tracking_id(),
            resume="allow",
            name=run.name,
            group=run.group,
            job_type=run.job,
            tags=run.tags,
            notes=run.question,
            config=dict(run.config),
            settings=wandb.Settings(silent=True, console="off", init_timeout=_PATIENCE_S),
        )
        resolved = resolve_mode(mode)
        try:
            self.wandb_run = start(mode=resolved)
        except wandb.Error as error:
            if resolved != "online":
                raise
            reason = str(error).splitlines()[0]
            print(f"brats-ablate: W&B is not available ({reason}); logging offline", file=sys.stderr, flush=True)
            resolved = "offline"
            wandb.teardown()  # the service would say that the run's id is in use
            self.wandb_run = start(mode=resolved)
        if resolved == "online":
            print(f"W&B: {self.wandb_run.url}", flush=True)
        elif resolved == "offline":
            print(f"W&B, offline; upload it with: wandb sync {self.wandb_run.settings.sync_dir}", flush=True)
        self._images = run.folder / "wandb" / "pictures"
        self._pending_image: Image | None = None
        self._dice: dict[int, float] = {}
        if run.job == "train":
            self.wandb_run.define_metric("epoch")
            self.wandb_run.define_metric("*", step_metric="epoch")
            self.wandb_run.define_metric("dice", step_metric="epoch", summary="max")

    def log_image(self, make_image: Callable[[], Image]) -> None:
        """Keep the image for the epoch that is logged next."""
        self._pending_image = make_image()

    def log(self, row: dict[str, Any]) -> None:
        """Log one epoch's line of metrics.jsonl; with an image if its Dice is higher than in every epoch before.

        Images are cached on disk because a resumed run replays its history; the interrupted epoch is logged twice.
        """
        image, self._pending_image = self._pending_image, None
        best = max((dice for epoch, dice in self._dice.items() if epoch < row["epoch"]), default=-1.0)
        dice = row.get("dice")
        if dice is None or not dice > best:  # nor is NaN
            self.wandb_run.log(row)
            return
        import wandb

        self._dice[row["epoch"]] = dice
        file = self._images / f"epoch={row['epoch']:04d}.png"
        if image is not None:
            with atomic_write(file) as temporary:
                image.save(temporary, format="PNG")
        caption = f"epoch {row['epoch']}, mean Dice of the fold {dice:.4f}"
        logged = {IMAGE_KEY: wandb.Image(str(file), caption=caption)} if file.exists() else {}
        self.wandb_run.log({**row, **logged})

    def log_tables(self, tables: Mapping[str, DataFrame]) -> None:
        """Log every table as a W&B Table under its name."""
        import wandb

        named = {name: frame.rename(columns={"": "row"}) for name, frame in tables.items()}
        self.wandb_run.log(
            {name: wandb.Table(columns=list(f.columns), data=f.to_numpy().tolist()) for name, f in named.items()}
        )

    def finish(self) -> None:
        """Upload what is pending and end the W&B run."""
        self.wandb_run.finish()


def resolve_mode(mode: str) -> Literal["online", "offline", "disabled"]:
    """Resolve `auto`: the value of WANDB_MODE, else online if a login exists (WANDB_API_KEY or `wandb login`)."""
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if _logged_in() else "offline")
    return cast(Literal["online", "disabled"], mode) if mode in ("online", "disabled") else "offline"


def _logged_in() -> bool:
    import wandb

    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or wandb.Settings().base_url).hostname or ""
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
