"""Where metrics are shown besides the run directory: nowhere, or Weights & Biases. The only module that knows wandb."""

from __future__ import annotations

import hashlib
import netrc
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from brats_ablate.rundir import Coordinates


@dataclass(frozen=True)
class RunFacts:
    """What a tracker is told of a run when it starts."""

    coordinates: Coordinates
    config: Mapping[str, Any]
    folder: Path
    tags: tuple[str, ...] = ()
    question: str | None = None

    @property
    def tracking_id(self) -> str:
        """The same for every start of one run, so that a resumed run continues its curves; unique per directory."""
        return hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:16]


class NoTracker:
    """Shows nothing: the run directory has everything."""

    def __init__(self, run: RunFacts) -> None:
        self.run = run

    def log(self, row: dict[str, Any]) -> None:
        """Nothing to do."""

    def finish(self) -> None:
        """Nothing to do."""


class WandbTracker:
    """One W&B run per training run, grouped by experiment, with the epoch as the axis of every curve."""

    def __init__(
        self, run: RunFacts, project: str, entity: str | None, mode: Literal["auto", "online", "offline"]
    ) -> None:
        import wandb

        where = run.coordinates
        self.wandb_run = wandb.init(
            project=project,
            entity=entity,
            mode=_resolved(mode),
            dir=str(run.folder),
            id=run.tracking_id,
            resume="allow",
            name=f"{where.name} f{where.fold} lr{where.lr:g} s{where.seed}",
            group=where.name,
            job_type="train",
            tags=[where.name, f"fold {where.fold}", *run.tags],
            notes=run.question,
            config={
                **run.config,
                "experiment": where.name,
                "fold": where.fold,
                "lr": where.lr,
                "seed": where.seed,
            },
            settings=wandb.Settings(silent=True, console="off"),
        )
        self.wandb_run.define_metric("epoch")
        self.wandb_run.define_metric("*", step_metric="epoch")
        self.wandb_run.define_metric("dice", step_metric="epoch", summary="max")

    def log(self, row: dict[str, Any]) -> None:
        """One epoch's line of metrics.jsonl."""
        self.wandb_run.log(row)

    def finish(self) -> None:
        """Write what is still under way."""
        self.wandb_run.finish()


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
