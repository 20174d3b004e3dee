"""Base class of our launchers: composes and checks every run before the first one is started or submitted."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, filter_overrides, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from hydra_plugins._brats_ablate_composition import CachedComposition
from hydra_plugins._brats_ablate_trials import launch_trials, result_of, wants_scores

if TYPE_CHECKING:
    from brats_ablate.launch.sweep import SweepRun

SWEEP_JOBS = tuple(f"brats_ablate.jobs.{job}.run" for job in ("sweep.plan", "sweep.status", "tables"))
"""Jobs about a whole sweep: they are called once, with all its configurations."""


class CheckedLauncher(Launcher):
    """Composes and checks every run of a sweep, then passes them to `run_all`."""

    @cached_property
    def ranks_per_run(self) -> int:
        """Processes that it starts for a run; by default this one, or torchrun's, of which it is one."""
        from brats_ablate.runtime.ranks import world_size

        return world_size()

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra passes: how to compose, the application, and the configuration of the sweep."""
        self.config, self.context, self.task_function = config, hydra_context, task_function

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Launch the runs; exits with 2 before anything is started if a configuration or its data is invalid."""
        from brats_ablate.errors import ConfigError, UserError
        from brats_ablate.jobs.execute import call_job
        from brats_ablate.jobs.sweep.results import tables_of
        from brats_ablate.runs.directory import trains_a_run
        from brats_ablate.runtime.output import print_message

        setup_globals()
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(self.config)  # printed commands have the options of the sweep
        try:
            if wants_scores(self.config):
                return launch_trials(self, job_overrides, initial_job_idx)
            if OmegaConf.select(self.config, "hydra.sweeper.max_batch_size") is not None:
                raise ConfigError(
                    "hydra.sweeper.max_batch_size would name and check each batch of runs on its own; leave it out, "
                    "and limit runs at a time by hydra.launcher.max_parallel or hydra.launcher.array_parallelism"
                )
            runs = self.compose(job_overrides, initial_job_idx)
            target = str(runs[0].cfg.job._target_)
            plain = [_without_hydra(r.cfg) for r in runs]
            if target in SWEEP_JOBS:
                HydraConfig.instance().set_config(runs[0].cfg)
                call_job(runs[0].cfg, sweep=plain)
            else:
                self.start(runs, tables_of(plain, self.config.hydra) if trains_a_run(target) else None)
            return [result_of(r.overrides) for r in runs]
        except UserError as error:
            print_message(error)
            sys.exit(error.exit_code)
        finally:
            HydraConfig.instance().cfg = before

    def start(self, runs: Sequence[SweepRun], around: AbstractContextManager[None] | None = None) -> None:
        """Check what a configuration alone does not show, run or submit all runs, and record their exit code.

        Args:
            runs: all of the sweep or of one batch.
            around: entered when all checks have passed, and left when the runs have ended.

        Raises:
            ConfigError: a run has another number of processes, data that does not fit, or another configuration than
                when it was started.
            SystemExit: a run was interrupted.
        """
        from brats_ablate.jobs.sweep.data_check import check_sweep_data
        from brats_ablate.jobs.sweep.tracked import commands
        from brats_ablate.launch.sweep import check_no_conflict, check_ranks
        from brats_ablate.runs.directory import trains_a_run
        from brats_ablate.runtime import exit_code, signals
        from brats_ablate.runtime.output import print_line
        from brats_ablate.runtime.ranks import rank

        for each in runs:
            if trains_a_run(str(each.cfg.job._target_)):
                check_ranks(each.cfg, self.ranks_per_run, "the launcher")
        check_sweep_data([r.cfg for r in runs])
        check_no_conflict(runs)
        with around or nullcontext():
            exit_code.record(self.run_all(runs))
        if rank() == 0:
            for line in commands([each.run for each in runs if each.run]):
                print_line(line)
        if exit_code.highest() == signals.EXIT_CODE:
            sys.exit(signals.EXIT_CODE)

    @abstractmethod
    def run_all(self, runs: Sequence[SweepRun]) -> int:
        """Run or submit all runs and return the exit code."""

    @property
    def folder(self) -> Path:
        """Folder of the logs of this launch."""
        return Path(str(self.config.hydra.sweep.dir)).absolute()

    def compose(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[SweepRun]:
        """Compose and check each run; `first` is the number of the first one. Runs of a grid get their own names.

        Raises:
            ConfigError: a configuration is invalid; names the run.
        """
        from brats_ablate.config.command import record_options
        from brats_ablate.config.design import Design
        from brats_ablate.config.messages import format_error
        from brats_ablate.errors import ConfigError
        from brats_ablate.jobs.execute import check_configuration
        from brats_ablate.jobs.initial_weights import use_initial_weights
        from brats_ablate.launch.sweep import as_sweep_run, by_data_set
        from brats_ablate.runs.directory import trains_a_run

        composed: list[tuple[DictConfig, str, list[str]]] = []
        compose = CachedComposition(self.context.config_loader, self.config)
        design = Design.from_config(container(self.config.get("design") or {}))
        if design and wants_scores(self.config):
            raise ConfigError("a design is a grid of its combinations; use hydra/sweeper=grid")
        grid = [(of_grid, on) for of_grid in job_overrides for on in (design.combinations if design else [()])]
        if not grid:
            globs = " ".join(text for text in self.config.hydra.overrides.task if "glob(" in text)
            raise ConfigError(f"{globs or 'a glob'} matches no option; `--help` lists the options of each group")
        for number, (of_grid, on) in enumerate(grid, start=first):
            overrides = [*of_grid, *(compose.factors(design.overrides(on), of_grid) if design else ())]
            try:
                cfg = compose(overrides)
            except Exception as error:
                if (sentence := format_error(error)) is None:
                    raise
                raise ConfigError(sentence) from error  # on which the sweeper removes its folder
            record_options(cfg, cfg.hydra.overrides.task)
            with open_dict(cfg):
                cfg.hydra.job.id = str(number)
                cfg.hydra.job.num = number
                if design:
                    cfg.design.on = list(on)
            label = " ".join(o.lstrip("+") for o in filter_overrides(overrides)) or str(cfg.name)
            try:
                check_configuration(cfg, overrides)
            except ConfigError as error:
                raise ConfigError(f"{error} (in: {label})") from None
            composed.append((cfg, label, overrides))
        target = str(composed[0][0].job._target_)
        if design or trains_a_run(target) or target in SWEEP_JOBS:
            for (cfg, _, _), named in zip(composed, compose.names(grid, design), strict=True):
                if named is not None:
                    cfg.name, cfg.about.baseline = named
                    cfg.about.question = None
        for cfg, label, _ in composed:  # after their names, by which a run finds what it recorded
            try:
                use_initial_weights(cfg)
            except ConfigError as error:
                raise ConfigError(f"{error} (in: {label})") from None
        runs = [as_sweep_run(*each) for each in composed]
        if len(by_data_set([each.cfg for each in runs])) == 1:
            return runs
        # Other labels than a training run's have the overrides.
        return [replace(r, label=f"{r.label} ({r.cfg.data.name})") if r.run else r for r in runs]


def container(node: Any) -> Any:
    """Return a node as plain containers; any other value as it is."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _without_hydra(cfg: DictConfig) -> DictConfig:
    """Return the configuration without Hydra's part, as a job gets it."""
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
