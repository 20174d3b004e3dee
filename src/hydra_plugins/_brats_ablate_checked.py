"""Base class of our launchers: composes and checks every run before the first one is started or submitted."""

from __future__ import annotations

import copy
import sys
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.core.utils import JobReturn, filter_overrides, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from hydra_plugins._brats_ablate_trials import fixed_overrides, grid_result, launch_trials, wants_scores

if TYPE_CHECKING:
    from brats_ablate.config.design import Design
    from brats_ablate.launch.sweep import SweepRun

SWEEP_JOBS = tuple(f"brats_ablate.jobs.{job}.run" for job in ("sweep.plan", "sweep.status", "tables"))
"""Jobs about a whole sweep: they are called once, with all its configurations."""

_COORDINATES = ("fold", "lr", "seed")


@dataclass(frozen=True)
class ComposedRun:
    """One run of a sweep: a label, the overrides that define it, and its configuration."""

    label: str
    overrides: Sequence[str]
    cfg: DictConfig
    data_set: str | None = None
    """Where the sweep has several."""

    def as_sweep_run(self) -> SweepRun:
        """Return the run in the form that `launch` submits."""
        from brats_ablate.launch.sweep import as_sweep_run

        run = as_sweep_run(self.cfg, self.label)
        if self.data_set is None or run.run is None:  # other labels than a training run's have the overrides
            return run
        return replace(run, label=f"{run.label} ({self.data_set})")


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
        from brats_ablate.jobs.sweep.results import tables_of
        from brats_ablate.runs.directory import trains_a_run

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
            if target in SWEEP_JOBS:
                return self._run_sweep_job(target, runs)
            plain = [_without_hydra(r.cfg) for r in runs]
            self.start(runs, tables_of(plain, self.config.hydra) if trains_a_run(target) else None)
            return [grid_result(r.overrides) for r in runs]
        except UserError as error:
            print(f"brats-ablate: {error}", file=sys.stderr)
            sys.exit(error.exit_code)
        finally:
            HydraConfig.instance().cfg = before

    def start(self, runs: Sequence[ComposedRun], around: AbstractContextManager[None] | None = None) -> None:
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
        check_no_conflict([r.as_sweep_run() for r in runs])
        with around or nullcontext():
            exit_code.record(self.run_all(runs))
        if rank() == 0:
            for line in commands([run for each in runs if (run := each.as_sweep_run().run) is not None]):
                print_line(line)
        if exit_code.highest() == signals.EXIT_CODE:
            sys.exit(signals.EXIT_CODE)

    @abstractmethod
    def run_all(self, runs: Sequence[ComposedRun]) -> int:
        """Run or submit all runs and return the exit code."""

    @property
    def folder(self) -> Path:
        """Folder of the logs of this launch."""
        return Path(str(self.config.hydra.sweep.dir)).absolute()

    def compose(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[ComposedRun]:
        """Compose and check each run; `first` is the number of the first one. Runs of a grid get their own names.

        Raises:
            ConfigError: a configuration is invalid; names the run.
        """
        from brats_ablate.config.check import check
        from brats_ablate.config.command import record_options
        from brats_ablate.config.design import Design
        from brats_ablate.config.locations import check_outputs
        from brats_ablate.config.messages import format_error
        from brats_ablate.errors import ConfigError
        from brats_ablate.jobs.component_check import check_components
        from brats_ablate.jobs.initial_weights import use_initial_weights
        from brats_ablate.jobs.network_check import check_network
        from brats_ablate.jobs.prepared_data import use_prepared_data
        from brats_ablate.runs.directory import trains_a_run

        runs = []
        compose = _CachedComposition(self.context.config_loader, self.config)
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
                use_prepared_data(cfg, overrides)
                plain = _without_hydra(cfg)
                check(plain)
                check_outputs(plain)
                check_components(plain)
                check_network(plain)
            except ConfigError as error:
                raise ConfigError(f"{error} (in: {label})") from None
            runs.append(ComposedRun(label, overrides, cfg))
        target = str(runs[0].cfg.job._target_)
        if design or trains_a_run(target) or target in SWEEP_JOBS:
            for each, named in zip(runs, compose.names(grid, design), strict=True):
                if named is not None:
                    each.cfg.name, each.cfg.about.baseline = named
                    each.cfg.about.question = None
        for each in runs:  # after their names, by which a run finds what it recorded
            try:
                use_initial_weights(each.cfg)
            except ConfigError as error:
                raise ConfigError(f"{error} (in: {each.label})") from None
        data_sets = [str(OmegaConf.select(each.cfg, "data.name")) for each in runs]
        if len(set(data_sets)) > 1:
            return [replace(each, data_set=name) for each, name in zip(runs, data_sets, strict=True)]
        return runs

    def _run_sweep_job(self, target: str, runs: Sequence[ComposedRun]) -> Sequence[JobReturn]:
        from hydra.utils import get_method

        job: Any = OmegaConf.to_container(runs[0].cfg.job, resolve=True)
        del job["_target_"]
        sweep = [_without_hydra(r.cfg) for r in runs]
        HydraConfig.instance().set_config(runs[0].cfg)
        get_method(target)(runs[0].cfg, sweep=sweep, **job)
        return [grid_result(r.overrides) for r in runs]


class _CachedComposition:
    """Composes each combination of groups once and sets fold, lr and seed afterwards: 180 runs in seconds."""

    def __init__(self, loader: ConfigLoader, base: DictConfig) -> None:
        self.loader, self.base = loader, base
        self.parser = OverridesParser.create(config_loader=loader)
        self.composed: dict[tuple[str, ...], DictConfig] = {}

    def factors(self, overrides: Mapping[str, object], of_grid: Sequence[str]) -> list[str]:
        """Return what the factors of a design override as the command line would; `of_grid` are its own overrides.

        Raises:
            ConfigError: the command line or the grid sets a key that a factor sets.
        """
        from brats_ablate.errors import ConfigError

        given = {self.parser.parse_override(text).key_or_group for text in of_grid}
        for key in overrides:
            if key.lstrip("+~") in given:
                raise ConfigError(f"{key} is set by a factor of the design, and again here; leave one out")
        texts = {key: Override._get_value_element_as_str(_quoted(value)) for key, value in overrides.items()}
        return [key if key.startswith("~") else f"{key}={text}" for key, text in texts.items()]

    def names(
        self, grid: Sequence[tuple[Sequence[str], Sequence[str]]], design: Design | None
    ) -> list[tuple[str, str | None] | None]:
        """Return name and baseline of each run of a grid, and of the factors that are on in it."""
        from brats_ablate.config.design import combination_name
        from brats_ablate.launch.grid_names import grid_name

        named = self.grid_names([of_grid for of_grid, _ in grid])
        if design is None:
            return named
        combined: list[tuple[str, str | None] | None] = []
        for (of_grid, on), name in zip(grid, named, strict=True):
            base = grid_name(str(self(of_grid).name), ()) if name is None else name[0]
            reference = combination_name(base, design.reference)
            combined.append((combination_name(base, on), None if tuple(on) == design.reference else reference))
        return combined

    def grid_names(self, grid: Sequence[Sequence[str]]) -> list[tuple[str, str | None] | None]:
        """Return name and baseline of each run of a grid over options or values; None where `name` stays.

        The baseline is the run that differs from its experiment in nothing, if the grid contains it.
        """
        from brats_ablate.launch.grid_names import grid_name, naming_keys

        parsed = [{p.key_or_group: p for p in map(self.parser.parse_override, overrides)} for overrides in grid]
        fixed = fixed_overrides(self.base, self.parser) if wants_scores(self.base) else None
        keys = naming_keys([{key: p.value() for key, p in run.items() if not p.is_delete()} for run in parsed], fixed)
        if not keys:
            return [None] * len(grid)
        plain = [self([str(p.input_line) for key, p in run.items() if key not in keys]) for run in parsed]
        names = [grid_name(str(cfg.name), _differences(run, keys, cfg)) for cfg, run in zip(plain, parsed, strict=True)]
        references = [grid_name(str(cfg.name), ()) for cfg in plain]
        return [
            (name, reference if reference in names and reference != name else None)
            for name, reference in zip(names, references, strict=True)
        ]

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


def _differences(run: Mapping[str, Override], keys: Sequence[str], plain: DictConfig) -> list[tuple[str, object]]:
    """Return the overrides of `keys` that change something in `plain`, the composition without them."""
    usual = OmegaConf.create({key: plain.hydra.runtime.choices.get(key, OmegaConf.select(plain, key)) for key in keys})
    values: Any = OmegaConf.to_container(usual)
    return [(key, run[key].value()) for key in keys if key in run and run[key].value() != values[key]]


def _quoted(value: Any) -> Any:
    """Return a value whose texts Hydra's parser reads as they are."""
    if isinstance(value, list):
        return [_quoted(item) for item in value]
    if isinstance(value, dict):
        return {key: _quoted(item) for key, item in value.items()}
    return QuotedString(value, Quote.single) if isinstance(value, str) and not value.isidentifier() else value


def container(node: Any) -> Any:
    """Return a node as plain containers; any other value as it is."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _without_hydra(cfg: DictConfig) -> DictConfig:
    """Return the configuration without Hydra's part, as a job gets it."""
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
