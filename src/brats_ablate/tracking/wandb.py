"""Log runs to Weights & Biases. Only this module and `dashboard` import wandb."""

from __future__ import annotations

import netrc
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import urlsplit

from brats_ablate.runtime.files import atomic_write, finite_or_null, read_jsonl, to_json, write_text
from brats_ablate.runtime.output import print_message
from brats_ablate.runtime.text import first_line, shell_quoted
from brats_ablate.tracking.base import NewBest, RunInfo, ValidationImage

if TYPE_CHECKING:
    from pandas import DataFrame

PATIENCE_S = 15
"""For the first contact with W&B; after it, runs are logged offline."""
_STEPS = "steps.jsonl"
IMAGE_KEY, MASKS_KEY = "picture", "masks"
"""The W&B keys of a validation case: drawn, and as a slice of each modality with masks to switch on and off."""
STEP_PREFIX = "step/"
"""Of the keys of a step's metrics, whose axis is `step`."""


class WandbTracker:
    """One W&B run per training run, grouped by experiment, with epochs or steps as the axis of every curve.

    Args:
        run: what is logged.
        project: of W&B.
        entity: of W&B, the user who is logged in if None.
        mode: see `resolve_mode`.
        every_steps: log the metrics of each so many steps; those of epochs are means over all steps.
        checkpoints: log the best checkpoints as an artifact when training has ended.
    """

    def __init__(
        self,
        run: RunInfo,
        project: str,
        entity: str | None,
        mode: Literal["auto", "online", "offline", "disabled"],
        every_steps: int = 10,
        checkpoints: bool = False,
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
            settings=wandb.Settings(silent=True, console="off", init_timeout=PATIENCE_S),
        )
        resolved = resolve_mode(mode)
        try:
            self.wandb_run = start(mode=resolved)
        except wandb.Error as error:
            if resolved != "online":
                raise
            print_message(f"W&B is not available ({first_line(error)}); logging offline")
            resolved = "offline"
            wandb.teardown()  # the service would say that the run's id is in use
            self.wandb_run = start(mode=resolved)
        if resolved == "online":
            print(f"W&B: {self.wandb_run.url}", flush=True)
        elif resolved == "offline" and not run.in_sweep:
            command = f"wandb sync {shell_quoted(str(self.wandb_run.settings.sync_dir))}"
            print(f"W&B, offline; upload it with: {command}", flush=True)
        self._every_steps, self._logs_checkpoints = every_steps, checkpoints
        self._kept = run.folder / "wandb"
        self._kept.mkdir(exist_ok=True)  # W&B makes none with mode=disabled
        self._pending_image: ValidationImage | None = None
        self._is_new_best = NewBest()
        self._step_keys: set[str] = set()
        if run.job == "train":
            self.wandb_run.define_metric("epoch")
            self.wandb_run.define_metric("*", step_metric="epoch")
            self.wandb_run.define_metric("dice", step_metric="epoch", summary="max")

    def resume(self, step: int, rows: Sequence[dict[str, Any]]) -> None:
        """Log again what was logged up to `step`: steps and images from copies on disk, epochs from `rows`.

        Each start of a run has an offline file of its own, of which the last one is thus complete. Online, W&B appends
        to what it has, so only what comes after its summary is logged.
        """
        there = self.wandb_run.summary if self.wandb_run.resumed else {}
        last_step, last_epoch = there.get("step", 0), there.get("epoch", -1)
        file = self._kept / _STEPS
        steps = {kept["step"]: kept for kept in read_jsonl(file) if kept["step"] <= step}
        if file.exists():
            write_text(file, "".join(f"{to_json(kept)}\n" for kept in steps.values()))
        for kept in steps.values():
            if kept["step"] > last_step:
                self._log_step(kept)
        for row in rows:
            if row["epoch"] > last_epoch:
                self.log(row)
            else:
                self._is_new_best(row)  # for the epochs that follow

    def log_step(self, step: int, values: Mapping[str, float]) -> None:
        """Log every so many steps' metrics, from the first step on."""
        if (step - 1) % self._every_steps:
            return
        row = {"step": step} | {f"{STEP_PREFIX}{name}": value for name, value in values.items()}
        kept = finite_or_null(row)
        with (self._kept / _STEPS).open("a", encoding="utf-8") as stream:
            stream.write(f"{to_json(kept)}\n")
        self._log_step(kept)

    def log_image(self, make_image: Callable[[], ValidationImage]) -> None:
        """Keep the image for the epoch that is logged next."""
        self._pending_image = make_image()

    def log(self, row: dict[str, Any]) -> None:
        """Log one epoch's line of metrics.jsonl; with an image if its Dice is higher than in every epoch before."""
        image, self._pending_image = self._pending_image, None
        if not self._is_new_best(row):
            self.wandb_run.log(row)
            return
        file = self._kept / "pictures" / f"epoch={row['epoch']:04d}.png"
        if image is not None:
            _keep_image(file, image)
        caption = f"epoch {row['epoch']}, mean Dice of the fold {row['dice']:.4f}"
        self.wandb_run.log({**row, **_kept_images(file, caption)})

    def log_checkpoints(self, files: Sequence[Path]) -> None:
        """Log the files as one artifact of type `model`, if the option `checkpoints` is on. They are not copied."""
        if not self._logs_checkpoints or not files:
            return
        import wandb

        artifact = wandb.Artifact(f"checkpoints-{self.wandb_run.id}", type="model")
        for file in files:
            artifact.add_file(str(file), policy="immutable")
        self.wandb_run.log_artifact(artifact, aliases=["best"])

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

    def _log_step(self, row: Mapping[str, Any]) -> None:
        """Log a row whose keys have the step as their axis, each declared by its name: a pattern has the epoch."""
        for key in row.keys() - self._step_keys:
            self.wandb_run.define_metric(key, step_metric=None if key == "step" else "step")
            self._step_keys.add(key)
        self.wandb_run.log(dict(row))


def _keep_image(file: Path, image: ValidationImage) -> None:
    """Write the drawn image as `file`, and its arrays next to it."""
    import numpy as np

    with atomic_write(file) as temporary:
        image.drawn.save(temporary, format="PNG")
    arrays: dict[str, Any] = {f"image/{name}": array for name, array in image.images.items()}
    arrays |= {"predicted": image.predicted, "reference": image.reference, "tissues": np.array(image.tissues)}
    with atomic_write(file.with_suffix(".npz")) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def _kept_images(file: Path, caption: str) -> dict[str, Any]:
    """Return the images of an epoch as W&B shows them: drawn, and per modality with masks; {} if none was kept."""
    import numpy as np
    import wandb

    arrays = file.with_suffix(".npz")
    shown: dict[str, Any] = {IMAGE_KEY: wandb.Image(str(file), caption=caption)} if file.exists() else {}
    if arrays.exists():
        with np.load(arrays) as kept:
            classes = {label: str(name) for label, name in enumerate(kept["tissues"])}
            masks = {name: {"mask_data": kept[name], "class_labels": classes} for name in ("predicted", "reference")}
            shown[MASKS_KEY] = [
                wandb.Image(kept[key], caption=f"{key.partition('/')[2]}, {caption}", masks=masks)
                for key in kept.files
                if key.startswith("image/")
            ]
    return shown


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
