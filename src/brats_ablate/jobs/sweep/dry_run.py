"""Dry run of an experiment: a few short epochs, one validated case, real data, real checkpoints.

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
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from omegaconf import DictConfig, OmegaConf

from brats_ablate.errors import UserError
from brats_ablate.runs.directory import RunDirectory
from brats_ablate.runtime.files import to_json
from brats_ablate.runtime.output import print_message
from brats_ablate.training.validation_schedule import Kind, ValidationSchedule

if TYPE_CHECKING:
    from brats_ablate.cases import Patch
    from brats_ablate.training.trainer import Loader, Trainer


_STEPS = {"cpu": 1, "cuda": 20}
"""Of an epoch. On a GPU, a single step would mostly wait for the first patch to be read."""
_EDGE = 32
"""In voxels, of the corner of a patch that is augmented before anything is measured."""
_DRAWS = 60
"""Of that augmentation; 1 in 17,000 misses a transform with probability 0.15."""


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
class FirstSteps:
    """A loader whose epochs have only their first steps."""

    loader: Loader
    steps_per_epoch: int

    def epoch(self, epoch: int, start_step: int = 0) -> Generator[list[Patch], None, None]:
        """Yield the first batches of `epoch`."""
        with closing(self.loader.epoch(epoch, start_step)) as batches:
            yield from islice(batches, self.steps_per_epoch)


@dataclass(frozen=True)
class ListedKinds(ValidationSchedule):
    """A schedule that lists the kind of each epoch."""

    kinds: tuple[Kind | None, ...] = ()

    def kind(self, epoch: int, epochs: int) -> Kind | None:
        """Return the kind of `epoch` (1-based)."""
        return self.kinds[epoch - 1]


def validations(device_type: str, *, has_interim: bool) -> tuple[Kind | None, ...]:
    """Return the kind of validation of each epoch, so that the last of each kind is measured.

    On a GPU, the first of each kind compiles its kernels and chooses its algorithms.
    """
    kinds: tuple[Kind, ...] = ("interim", "final") if has_interim else ("final",)
    return (None, *kinds) if device_type == "cpu" else (*kinds, *kinds)


def compile_transforms(trainer: Trainer) -> None:
    """Augment a corner of a patch by many draws, so that no loop of a rare transform is compiled in a measured step."""
    import numpy as np

    with closing(trainer.loader.epoch(1)) as batches:
        patch = next(batches)[0]
    corner = np.s_[..., :_EDGE, :_EDGE, :_EDGE]
    images, labels = (np.ascontiguousarray(volume[corner]) for volume in (patch.images, patch.labels))
    seed, epoch, _ = patch.sample_key
    for draw in range(_DRAWS):
        trainer.pipeline([replace(patch, images=images, labels=labels, sample_key=(seed, epoch, draw))])


def measure(cfg: DictConfig, folder: Path) -> Measurement:
    """Train the run of `cfg` in `folder`, shortened to a few steps and the validation of one case."""
    from brats_ablate.jobs.build import open_store
    from brats_ablate.jobs.train.setup import build_trainer
    from brats_ablate.launch.sweep import run_directory
    from brats_ablate.training.determinism import deterministic_algorithms
    from brats_ablate.training.device import choose_device
    from brats_ablate.training.distributed import DistributedContext

    directory = RunDirectory.at(folder, run_directory(cfg).coordinates)
    device = choose_device(str(cfg.trainer.device), 0)
    with (
        deterministic_algorithms(bool(cfg.trainer.deterministic)),
        build_trainer(cfg, directory, device, DistributedContext()) as full,
    ):
        store = open_store(cfg)
        validation, has_interim = full.validation, full.validation_schedule.final_every is not None
        kinds = validations(device.type, has_interim=has_interim)
        steps = min(_STEPS[device.type], full.steps_per_epoch)
        largest = max(validation.case_ids, key=lambda case: math.prod(store.record(case).box.shape))
        trainer = replace(
            full,
            loader=FirstSteps(full.loader, steps),
            validation=replace(validation, case_ids=[largest]),
            interim_validation=replace(full.interim_validation, case_ids=[largest]),
            validation_schedule=ListedKinds(every=1, kinds=kinds),
            settings=replace(full.settings, epochs=len(kinds), validate_untrained=False),
        )
        if device.type == "cpu":
            compile_transforms(trainer)
        trainer.fit()
    *_, before, row = directory.metrics()  # the first epoch warms up
    last, best = directory.last_checkpoint.stat().st_size, directory.best_checkpoints()[0].stat().st_size
    return {
        "step_s": (row["seconds"] - row["seconds/validation"]) / steps,
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
            print_message(error)
            os._exit(error.exit_code)  # without waiting for threads that read cases


if __name__ == "__main__":
    main()
