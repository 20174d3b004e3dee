"""Check the data of a sweep, once per data set, before the first run is started or submitted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from brats_ablate.config.check import check_data
from brats_ablate.errors import ConfigError, DataError
from brats_ablate.jobs.build import open_store
from brats_ablate.launch.sweep import overfits_one_batch, run_directory
from brats_ablate.runs.directory import TRAIN_JOB, RunDirectory

if TYPE_CHECKING:
    from brats_ablate.data.store import CaseStore


def check_sweep_data(sweep: Sequence[DictConfig]) -> None:
    """Check the data of the training runs in a sweep; other jobs check theirs themselves.

    Finished runs on other data are named, and kept.

    Raises:
        ConfigError: the data is not prepared or incomplete, or changed since an unfinished run was started.
    """
    stores: dict[Path, CaseStore] = {}
    outdated: list[str] = []
    for cfg in sweep:
        if cfg.job._target_ != TRAIN_JOB:
            continue
        prepared = Path(str(cfg.paths.prepared)).absolute()
        if prepared not in stores:
            check_data(cfg)
            try:
                stores[prepared] = open_store(cfg)
            except DataError as error:
                raise ConfigError(str(error)) from error
        if overfits_one_batch(cfg):
            continue  # it always starts from the beginning
        run = run_directory(cfg)
        if (changed := data_changed(run, stores[prepared])) is None:
            continue
        if not run.is_finished():
            raise ConfigError(changed)
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


def data_changed(run: RunDirectory, store: CaseStore) -> str | None:
    """Return a sentence if a run was started with other prepared data or folds than those of `store`; else None."""
    recorded = run.manifest().get("data_fingerprint")
    remedy = "delete that directory to train again, or restore"
    if recorded not in (None, store.fingerprint):
        return (
            f"{run.path} was started with different data than {store.folder} now contains (fingerprint "
            f"{recorded[:12]}, now {store.fingerprint[:12]}); {remedy} the data"
        )
    if not has_its_fold(run, store):
        return f"{run.path} was started with other cases in its fold than {store.folder} now has; {remedy} folds.json"
    return None


def has_its_fold(run: RunDirectory, store: CaseStore) -> bool:
    """Return whether the held-out cases of a run are those that its fold has in `store`.

    Runs of earlier versions recorded what their folds were drawn by.
    """
    recorded = run.manifest().get("held_out")
    if recorded is not None:
        return bool(recorded == store.held_out(run.coordinates.fold))
    drawn_by = run.identity() or {}
    return all(drawn_by.get(key, value) == value for key, value in store.fold_settings.items())
