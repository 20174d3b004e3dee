"""What all our launchers share: every run is composed and checked before the first one starts or is submitted."""

from __future__ import annotations

import copy
import sys
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

SWEEP_JOBS = ("brats_ablate.jobs.sweep.plan.run", "brats_ablate.jobs.sweep.status.run")
"""Jobs that look at a sweep as a whole: they are called once, with all its configurations."""

_COORDINATES = ("fold", "lr", "seed")


@dataclass(frozen=True)
class Composed:
    """One run of a sweep: its number, the overrides that make it, and its configuration."""

    number: int
    label: str
    overrides: Sequence[str]
    cfg: DictConfig


class CheckedLauncher(Launcher):
    """Composes and checks every run, then hands them to `run_all`."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.context, self.task_function = config, hydra_context, task_function

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Exits with 2 if any configuration or its data is wrong, before anything is started."""
        from brats_ablate.errors import UserError
        from brats_ablate.jobs.sweep.data_check import refuse_unfit_data

        setup_globals()
        try:
            runs = self._compose(job_overrides, initial_job_idx)
            target = str(runs[0].cfg.job._target_)
            if target in SWEEP_JOBS:
                return self._sweep_job(target, runs)
            refuse_unfit_data([r.cfg for r in runs])
            return self.run_all(runs)
        except UserError as error:
            print(f"brats-ablate: {error}", file=sys.stderr)
            sys.exit(error.exit_code)

    @abstractmethod
    def run_all(self, runs: Sequence[Composed]) -> Sequence[JobReturn]:
        """Run or submit them all."""

    def gpus_per_run(self) -> int:
        """How many processes train one run together under this launcher."""
        return 1

    @property
    def folder(self) -> Path:
        """Where this launch keeps its logs."""
        return Path(str(self.config.hydra.sweep.dir)).absolute()

    def finish(self, runs: Sequence[Composed], exit_code: int) -> Sequence[JobReturn]:
        """What Hydra wants returned for runs that ran in other processes; leaves with `exit_code` if it is not 0."""
        if exit_code:
            sys.exit(exit_code)
        return [
            JobReturn(overrides=list(r.overrides), cfg=r.cfg, status=JobStatus.COMPLETED, _return_value=0) for r in runs
        ]

    def _compose(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[Composed]:
        from brats_ablate.config.check import check
        from brats_ablate.errors import ConfigError

        runs = []
        compose = _CoordinatesApart(self.context.config_loader, self.config)
        for number, overrides in enumerate(job_overrides, start=first):
            cfg = compose(overrides)
            with open_dict(cfg):
                cfg.hydra.job.id = str(number)
                cfg.hydra.job.num = number
            label = " ".join(o.lstrip("+") for o in filter_overrides(overrides)) or str(cfg.name)
            try:
                check(without_hydra(cfg))
            except ConfigError as error:
                raise ConfigError(f"{error} (in: {label})") from None
            runs.append(Composed(number, label, overrides, cfg))
        return runs

    def _sweep_job(self, target: str, runs: Sequence[Composed]) -> Sequence[JobReturn]:
        from hydra.utils import get_method

        job: Any = OmegaConf.to_container(runs[0].cfg.job, resolve=True)
        del job["_target_"]
        get_method(target)(
            runs[0].cfg,
            sweep=[without_hydra(r.cfg) for r in runs],
            ranks=self.gpus_per_run(),
            **job,
        )
        return self.finish(runs, 0)


class _CoordinatesApart:
    """Composes each combination of groups once and sets fold, lr and seed afterwards: 180 runs in seconds."""

    def __init__(self, loader: ConfigLoader, base: DictConfig) -> None:
        self.loader, self.base = loader, base
        self.parser = OverridesParser.create(config_loader=loader)
        self.composed: dict[tuple[str, ...], DictConfig] = {}

    def __call__(self, overrides: Sequence[str]) -> DictConfig:
        parsed = [(text, self.parser.parse_override(text)) for text in overrides]
        coordinates = {p.key_or_group: p.value() for _, p in parsed if p.key_or_group in _COORDINATES}
        others = tuple(text for text, p in parsed if p.key_or_group not in coordinates)
        if others not in self.composed:
            self.composed[others] = self.loader.load_sweep_config(self.base, list(others))
        cfg = copy.deepcopy(self.composed[others])
        for key, value in coordinates.items():
            cfg[key] = value
        return cfg


def without_hydra(cfg: DictConfig) -> DictConfig:
    """The configuration as a job sees it."""
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
