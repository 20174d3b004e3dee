"""Check the data of a sweep, once per data set, before the first run is started or submitted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from brats_ablate.config.check import check_data
from brats_ablate.errors import ConfigError, DataError
from brats_ablate.jobs.build import open_store
from brats_ablate.launch.sweep import run_directory
from brats_ablate.runs.directory import TRAIN_JOB


def check_sweep_data(sweep: Sequence[DictConfig]) -> None:
    """Check the data of the training runs in a sweep; other jobs check theirs themselves.

    Raises:
        ConfigError: the data is not prepared or incomplete, or changed since an unfinished run was started.
    """
    fingerprints: dict[Path, str] = {}
    for cfg in sweep:
        if cfg.job._target_ != TRAIN_JOB:
            continue
        prepared = Path(str(cfg.paths.prepared)).absolute()
        if prepared not in fingerprints:
            check_data(cfg)
            try:
                fingerprints[prepared] = open_store(cfg).fingerprint
            except DataError as error:
                raise ConfigError(str(error)) from error
        run = run_directory(cfg)
        recorded = run.manifest().get("data_fingerprint")
        if recorded not in (None, fingerprints[prepared]) and not run.is_finished():
            raise ConfigError(data_changed_message(run.path, prepared, recorded, fingerprints[prepared]))


def data_changed_message(run: Path, prepared: Path | str, recorded: str, current: str) -> str:
    """Return the message about a run whose prepared data changed since the run was started."""
    return (
        f"{run} was started with different data than {prepared} now contains (fingerprint {recorded[:12]}, now "
        f"{current[:12]}); delete that directory to train again, or restore the data"
    )
