"""What of a sweep has to be submitted: the runs that are neither finished nor queued nor running.

A run finished under another configuration is not skipped: that would pass off one experiment's result as another's.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from brats_ablate.config.check import resolve
from brats_ablate.errors import ConfigError
from brats_ablate.launch.submission import Submission, activity, read_submission
from brats_ablate.runs.directory import FINISHED, Coordinates, RunDirectory
from brats_ablate.runs.identity import differences, identity


@dataclass(frozen=True)
class SweepRun:
    """One composed configuration of a sweep. `run` is its run directory, None for a job other than training."""

    label: str
    cfg: DictConfig = field(repr=False)
    run: RunDirectory | None

    @property
    def configuration(self) -> str:
        """The resolved configuration as YAML, without Hydra's own part."""
        tree = OmegaConf.to_container(self.cfg, resolve=True)
        assert isinstance(tree, dict)
        return OmegaConf.to_yaml(OmegaConf.create({key: value for key, value in tree.items() if key != "hydra"}))


@dataclass(frozen=True)
class SweepPlan:
    """A sweep sorted by what has to be done. Indices refer to the sweep's order."""

    finished: list[int]
    attached: dict[int, Submission]
    """Runs whose job is queued or running by an earlier submission."""
    elsewhere: list[int]
    """Runs that a process without a ticket is training."""
    due: list[int]


def as_sweep_run(cfg: DictConfig, label: str) -> SweepRun:
    """The work that one composed configuration asks for; a training run is called by its coordinates."""
    if not str(cfg.job._target_).endswith(".train.run"):
        return SweepRun(label, cfg, None)
    run = run_directory(cfg)
    return SweepRun(str(run.coordinates), cfg, run)


def run_directory(cfg: DictConfig) -> RunDirectory:
    """The directory of the training run that a configuration describes."""
    coordinates = Coordinates(str(cfg.name), int(cfg.fold), float(cfg.lr), int(cfg.seed))
    return RunDirectory.at(Path(str(cfg.paths.runs)).absolute(), coordinates)


def select(works: Sequence[SweepRun]) -> SweepPlan:
    """Sort a sweep. Raises ConfigError for a run that exists under another configuration, or is asked for twice."""
    _no_duplicates(works)
    selection = SweepPlan([], {}, [], [])
    tickets = {i: ticket for i, w in enumerate(works) if w.run and (ticket := read_submission(w.run.path))}
    active = activity(tickets.values())
    for i, each in enumerate(works):
        if each.run is None:
            selection.due.append(i)
            continue
        _same_configuration(each, each.run)
        status = each.run.status()
        if status is not None and status.state == FINISHED:
            selection.finished.append(i)
        elif i in tickets and tickets[i] in active:
            selection.attached[i] = tickets[i]
        elif each.run.is_locked():
            selection.elsewhere.append(i)
        else:
            selection.due.append(i)
    return selection


@contextlib.contextmanager
def one_launcher_at_a_time(works: Sequence[SweepRun]) -> Iterator[None]:
    """Held from looking for what is due until it has tickets, so that two launchers never submit the same run."""
    roots = sorted({w.run.path.parents[3] for w in works if w.run})
    with contextlib.ExitStack() as stack:
        for root in roots:
            root.mkdir(parents=True, exist_ok=True)
            stream = stack.enter_context((root / ".submission.lock").open("a"))
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _no_duplicates(works: Sequence[SweepRun]) -> None:
    seen: dict[Path, str] = {}
    for each in works:
        if each.run is None:
            continue
        if each.run.path in seen:
            raise ConfigError(
                f"{seen[each.run.path]!r} and {each.label!r} are the same run {each.run.coordinates}; set name="
            )
        seen[each.run.path] = each.label


def _same_configuration(each: SweepRun, run: RunDirectory) -> None:
    recorded = run.manifest().get("identity")
    wanted = identity(resolve(each.cfg))
    if recorded is not None and recorded != wanted:
        shown = "; ".join(differences(recorded, wanted)[:3])
        raise ConfigError(
            f"{run.path} holds a run of another configuration ({shown}); give this one its own name= or seed="
        )
