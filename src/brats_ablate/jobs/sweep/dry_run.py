"""Dry run of an experiment: a few epochs of one step, one validated case, real data, real checkpoints.

`job=plan` starts it in its own process for each experiment, so that a crash or running out of memory does not end the
plan. Reads a configuration as YAML from standard input; the last line of its output is a JSON object.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from omegaconf import DictConfig, OmegaConf

from brats_ablate.errors import UserError
from brats_ablate.runs.directory import RunDirectory
from brats_ablate.runtime.files import to_json

if TYPE_CHECKING:
    from brats_ablate.cases import Patch
    from brats_ablate.training.trainer import Loader


class Measurement(TypedDict):
    """What a dry run measures; numbers of one process."""

    step_s: float
    case_s: float
    """Validation of the largest case."""
    interim_case_s: float
    """The same in an interim epoch of a validation schedule; 0 without such epochs."""
    memory_bytes: int
    disk_bytes: int
    """All checkpoints that a run keeps."""
    steps_per_epoch: int
    validation_cases: int
    device: str


@dataclass(frozen=True)
class SingleStepLoader:
    """A loader whose epochs have one step."""

    loader: Loader
    steps_per_epoch: int = 1

    def epoch(self, epoch: int, start_step: int = 0) -> Generator[list[Patch], None, None]:
        """Yield the first batch of `epoch`."""
        with closing(self.loader.epoch(epoch, start_step)) as batches:
            yield next(batches)


def measure(cfg: DictConfig, folder: Path) -> Measurement:
    """Train the run of `cfg` in `folder`, shortened to a few steps and the validation of one case."""
    from brats_ablate.jobs.build import open_store
    from brats_ablate.jobs.train.setup import build_trainer
    from brats_ablate.launch.sweep import run_directory
    from brats_ablate.training.determinism import deterministic_algorithms
    from brats_ablate.training.device import choose_device
    from brats_ablate.training.distributed import DistributedContext
    from brats_ablate.training.validation_schedule import ValidationSchedule

    directory = RunDirectory.at(folder, run_directory(cfg).coordinates)
    device = choose_device(str(cfg.trainer.device), 0)
    with (
        deterministic_algorithms(bool(cfg.trainer.deterministic)),
        build_trainer(cfg, directory, device, DistributedContext()) as full,
    ):
        store = open_store(cfg)
        validation, has_interim = full.validation, full.validation_schedule.final_every is not None
        largest = max(validation.case_ids, key=lambda case: math.prod(store.record(case).box.shape))
        trainer = replace(
            full,
            loader=SingleStepLoader(full.loader),
            validation=replace(validation, case_ids=[largest]),
            interim_validation=replace(full.interim_validation, case_ids=[largest]),
            validation_schedule=ValidationSchedule(1, 1) if has_interim else ValidationSchedule(2),
            settings=replace(full.settings, epochs=3 if has_interim else 2, validate_untrained=False),
        )
        trainer.fit()
    *_, before, row = directory.metrics()  # the first epoch warms up
    last, best = directory.last_checkpoint.stat().st_size, directory.best_checkpoints()[0].stat().st_size
    return {
        "step_s": row["seconds"] - row["seconds/validation"],
        "case_s": row["seconds/validation"],
        "interim_case_s": before["seconds/validation"] if has_interim else 0.0,
        "memory_bytes": row["peak_memory_bytes"],
        "disk_bytes": last + full.settings.keep_best * best,
        "steps_per_epoch": full.steps_per_epoch,
        "validation_cases": len(validation.case_ids),
        "device": device.type,
    }


def main() -> None:
    """Measure the configuration on standard input; a user error is the last line on standard error."""
    cfg = OmegaConf.create(sys.stdin.read())
    assert isinstance(cfg, DictConfig)
    with tempfile.TemporaryDirectory(prefix="brats_ablate-dry-run-") as folder:
        try:
            print(to_json(measure(cfg, Path(folder))), flush=True)
        except UserError as error:
            print(f"brats-ablate: {error}", file=sys.stderr, flush=True)
            os._exit(error.exit_code)  # without waiting for threads that read cases


if __name__ == "__main__":
    main()
