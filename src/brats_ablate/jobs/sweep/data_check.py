"""Check the data of a sweep, once per data set, before the first run is started or submitted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from brats_ablate.config.check import check_data
from brats_ablate.errors import ConfigError, DataError
from brats_ablate.jobs.build import open_store
from brats_ablate.launch.sweep import overfits_one_batch, run_directory
from brats_ablate.runs.directory import TRAIN_JOB


def check_sweep_data(sweep: Sequence[DictConfig]) -> None:
    """Check the data of the training runs in a sweep; other jobs check theirs themselves.

    Finished runs on other data are named, and kept.

    Raises:
        ConfigError: the data is not prepared or incomplete, or changed since an unfinished run was started.
    """
    fingerprints: dict[Path, str] = {}
    outdated: list[str] = []
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
        if overfits_one_batch(cfg):
            continue  # it always starts from the beginning
        run = run_directory(cfg)
        recorded = run.manifest().get("data_fingerprint")
        if recorded in (None, fingerprints[prepared]):
            continue
        if not run.is_finished():
            raise ConfigError(data_changed_message(run.path, prepared, recorded, fingerprints[prepared]))
        outdated.append(str(run.coordinates))
    if outdated:
        print(finished_on_other_data(outdated))


def finished_on_other_data(runs: Sequence[str]) -> str:
    """Return the notice about finished runs whose prepared data changed since."""
    more = f" and {len(runs) - 1} more" if runs[1:] else ""
    return (
        f"{runs[0]}{more}: finished on different data than what is prepared now; give new runs another name=…, or "
        "delete their directories to train them again"
    )


def data_changed_message(run: Path, prepared: Path | str, recorded: str, current: str) -> str:
    """Return the message about a run whose prepared data changed since the run was started."""
    return (
        f"{run} was started with different data than {prepared} now contains (fingerprint {recorded[:12]}, now "
        f"{current[:12]}); delete that directory to train again, or restore the data"
    )
