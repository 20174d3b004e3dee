"""Trials of a sweeper that chooses each run by the scores of earlier ones (Optuna, Ax, Nevergrad)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from brats_ablate.launch.sweep import SweepRun
    from hydra_plugins._brats_ablate_checked import CheckedLauncher

_GRIDS = (
    "hydra_plugins.brats_ablate_grid.GridSweeper",
    "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
)


def wants_scores(config: DictConfig) -> bool:
    """Return True if the sweeper is not a grid, and so chooses its runs by their scores."""
    return str(config.hydra.sweeper._target_) not in _GRIDS


def fixed_overrides(config: DictConfig, parser: OverridesParser) -> dict[str, str]:
    """Return the overrides that are the same in every trial, key to value: those with a single value.

    They stand on the command line or, as Optuna's and Nevergrad's, in `hydra.sweeper.params`.
    """
    params = OmegaConf.select(config, "hydra.sweeper.params") or {}
    lines = [f"{key}={value}" for key, value in params.items() if not OmegaConf.is_config(value)]
    parsed = [parser.parse_override(line) for line in (*lines, *config.hydra.overrides.task)]
    return {p.key_or_group: p.get_value_element_as_str() for p in parsed if not p.is_sweep_override()}


def launch_trials(launcher: CheckedLauncher, trials: Sequence[Sequence[str]], first: int) -> Sequence[JobReturn]:
    """Train the run that each trial's overrides define, and return its score, or an error for a failed trial.

    Equal trials are one run. A trial fails if its configuration is invalid or its run failed.

    Args:
        launcher: runs them.
        trials: the overrides of each.
        first: the number of the first one.

    Raises:
        UserError: a run is not trained to its end: the trial has neither score nor error yet.
        SystemExit: a run was interrupted.
    """
    from brats_ablate.errors import ConfigError
    from brats_ablate.launch.submission import make_launch_folder
    from brats_ablate.runtime import exit_code
    from brats_ablate.runtime.ranks import world_size

    if world_size() > 1:
        raise ConfigError("each process of torchrun would search on its own; start one, with trainer.devices=N")
    direction = OmegaConf.select(launcher.config, "hydra.sweeper.direction")
    if getattr(direction, "name", direction) == "minimize":
        raise ConfigError("hydra.sweeper.direction=minimize would search for the lowest Dice; set it to maximize")
    make_launch_folder(launcher.folder)
    runs: dict[tuple[str, ...], SweepRun] = {}
    invalid: dict[tuple[str, ...], JobReturn] = {}
    for number, overrides in enumerate(dict.fromkeys(map(tuple, trials)), start=first):
        try:
            (runs[overrides],) = launcher.compose([overrides], number)
        except ConfigError as error:
            exit_code.record(error.exit_code)
            invalid[overrides] = result_of(overrides, error)
    for each in runs.values():
        if each.run is None:
            raise ConfigError(f"{each.label} has no score to search by; use hydra/sweeper=grid")
    if runs:
        launcher.start(list(runs.values()))
    results: Mapping[tuple[str, ...], JobReturn] = invalid | {key: _ended(run) for key, run in runs.items()}
    return [results[tuple(overrides)] for overrides in trials]


def _ended(each: SweepRun) -> JobReturn:
    """Return the score of a run, or why it failed."""
    from brats_ablate.errors import RunFailed
    from brats_ablate.launch.sweep import check_same_configuration, score
    from brats_ablate.runs.state import RunState

    assert each.run is not None
    check_same_configuration(each)
    status = each.status
    if status is None or status.state not in (RunState.FINISHED, RunState.FAILED):
        state = status.state if status else RunState.NOT_STARTED
        raise RunFailed(f"{each.label} is {state} and has no score yet; run the same command again to continue")
    if status.state == RunState.FAILED:
        return result_of(each.overrides, RunFailed(f"{each.label} failed: {status.reason}"))
    best = score(each.cfg)
    if best is None:
        raise RunFailed(f"{each.run.path / 'metrics.jsonl'} has no objective={each.cfg.objective} of a best epoch")
    return result_of(each.overrides, best)


def result_of(overrides: Sequence[str], value: float | Exception | None = None) -> JobReturn:
    """Return what Hydra's sweepers expect; reading the value of a failed one raises the error.

    A grid reads none, and the exit code is recorded: its runs have none, however they ended.
    """
    status = JobStatus.FAILED if isinstance(value, Exception) else JobStatus.COMPLETED
    result = JobReturn(overrides=list(overrides), status=status)
    result.return_value = value
    return result
