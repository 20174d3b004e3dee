"""Check of parts that are not this program's, before a run directory is made or anything is submitted."""

from __future__ import annotations

from omegaconf import DictConfig

from brats_ablate.config.check import resolve
from brats_ablate.config.loading import require_loadable
from brats_ablate.config.source import PACKAGE, find
from brats_ablate.config.trust import targets
from brats_ablate.runs.directory import trains_a_run

_PLAN = "brats_ablate.jobs.sweep.plan.run"


def trains_or_plans(cfg: DictConfig) -> bool:
    """Return whether the job of `cfg` trains its run, or plans to."""
    job = str(cfg.job._target_)
    return trains_a_run(job) or job == _PLAN


def check_components(cfg: DictConfig) -> None:
    """Import the classes and functions of others that a job names.

    Of jobs that train nothing, only the job itself is imported.

    Raises:
        ConfigError: one cannot be imported.
    """
    tree = resolve(cfg)
    for key, target in targets(tree if trains_or_plans(cfg) else {"job": tree["job"]}):
        if not _is_known(str(target)):
            require_loadable(key, str(target))


def _is_known(target: str) -> bool:
    """Return whether the source shows that this program, torch or MONAI has `target`: then nothing is imported."""
    if not target.startswith((f"{PACKAGE}.", "torch.", "monai.")):
        return False
    try:
        return find(target) is not None
    except LookupError:
        return False
