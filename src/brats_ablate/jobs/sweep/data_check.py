"""What a sweep will be trained on, looked at once per data set before the first run is started or submitted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from brats_ablate.config.check import check_data
from brats_ablate.errors import ConfigError, DataError
from brats_ablate.jobs.build import open_store
from brats_ablate.launch.sweep import run_directory
from brats_ablate.runs.directory import FINISHED


def refuse_unfit_data(sweep: Sequence[DictConfig]) -> None:
    """Hold the training runs among `sweep` against their data; other jobs say themselves what they need.

    Raises:
        ConfigError: the data is not prepared or not whole, or a run that is not finished was begun on other data.
    """
    fingerprints: dict[Path, str] = {}
    for cfg in sweep:
        if cfg.job._target_ != "brats_ablate.jobs.train.run":
            continue
        prepared = Path(str(cfg.paths.prepared)).absolute()
        if prepared not in fingerprints:
            check_data(cfg)
            try:
                fingerprints[prepared] = open_store(cfg).fingerprint
            except DataError as error:
                raise ConfigError(str(error)) from error
        _refuse_other_data(cfg, fingerprints[prepared])


def _refuse_other_data(cfg: DictConfig, fingerprint: str) -> None:
    directory = run_directory(cfg)
    recorded = directory.manifest().get("data_fingerprint")
    status = directory.status()
    if recorded in (None, fingerprint) or (status is not None and status.state == FINISHED):
        return
    raise ConfigError(other_data(directory.path, str(cfg.paths.prepared), recorded, fingerprint))


def other_data(run: Path, prepared: str, recorded: str, found: str) -> str:
    """The sentence for a run that would go on with data that it was not begun on."""
    return (
        f"{run} was begun on other data than {prepared} now holds (fingerprint {recorded[:12]}, now {found[:12]}); "
        "delete that directory to train anew, or restore the data"
    )
