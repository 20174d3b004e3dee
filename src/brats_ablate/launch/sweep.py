"""Plan of a sweep: submit the runs that are neither finished nor queued nor running.

A run that was trained with a different configuration is refused instead of skipped: its result would be reported for
the wrong experiment.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from brats_ablate.config.check import resolve
from brats_ablate.config.command import escaped
from brats_ablate.errors import ConfigError, Unreadable, UserError
from brats_ablate.launch.submission import LOCAL, Submission, active_states, read_submission
from brats_ablate.runs.conflict import conflict, shared
from brats_ablate.runs.directory import Coordinates, RunDirectory, RunRecord, best_epoch, find_runs, trains_a_run
from brats_ablate.runs.identity import differences, identity
from brats_ablate.runtime.locks import lock_file, wait_for_lock


@dataclass(frozen=True)
class SweepRun:
    """One composed configuration of a sweep.

    `run` is its run directory, None for what is always submitted: a job other than training, and `trainer=debug`.
    """

    label: str
    cfg: DictConfig = field(repr=False)
    run: RunDirectory | None
    overrides: Sequence[str] = field(default=(), repr=False)
    """That define it in the sweep."""

    @property
    def status(self) -> RunRecord | None:
        """What the run last recorded of its state; None before its first start, and for other jobs."""
        return self.run.status() if self.run else None

    def before_submission(self) -> dict[str, Any]:
        """Return what a submission of it records of the run."""
        status = self.status
        recorded = {"status_before": status.updated if status else ""}
        return recorded | ({"identity": identity(resolve(self.cfg))} if self.run else {})


@dataclass(frozen=True)
class SweepPlan:
    """The runs of a sweep by what has to be done, as indices into the sweep."""

    finished: list[int]
    already_submitted: dict[int, Submission]
    """Runs whose job is queued or running by an earlier submission."""
    running_elsewhere: list[int]
    """Runs that a process without a submission trains."""
    to_submit: list[int]


def configuration(cfg: DictConfig) -> str:
    """Return the resolved configuration as YAML, without Hydra's own part, for another process to read."""
    tree: Any = OmegaConf.to_container(cfg, resolve=True)
    about = tree.get("about") or {}
    if about.get("options"):  # for other commands to resolve
        about["options"] = escaped(about["options"])
    return OmegaConf.to_yaml(OmegaConf.create({key: value for key, value in tree.items() if key != "hydra"}))


def as_sweep_run(cfg: DictConfig, label: str, overrides: Sequence[str] = ()) -> SweepRun:
    """Return the run of one composed configuration; a training run is labeled by its coordinates instead of `label`."""
    if not trains_a_run(str(cfg.job._target_)) or overfits_one_batch(cfg):
        return SweepRun(label, cfg, None, overrides)
    run = run_directory(cfg)
    return SweepRun(str(run.coordinates), cfg, run, overrides)


def by_data_set(sweep: Sequence[DictConfig]) -> dict[str, list[DictConfig]]:
    """Return the configurations of a sweep by the name of their data set, in its order."""
    groups: dict[str, list[DictConfig]] = {}
    for cfg in sweep:
        groups.setdefault(str(OmegaConf.select(cfg, "data.name")), []).append(cfg)
    return groups


def run_directory(cfg: DictConfig) -> RunDirectory:
    """Return the directory of the training run that a configuration describes."""
    coordinates = Coordinates(str(cfg.name), int(cfg.fold), float(cfg.lr), int(cfg.seed))
    runs = cfg.paths.debug if overfits_one_batch(cfg) else cfg.paths.runs
    return RunDirectory.at(Path(str(runs)).absolute(), coordinates)


def overfits_one_batch(cfg: DictConfig) -> bool:
    """Return True for a run of `trainer=debug`: it has a folder that no table reads, and is never resumed."""
    return bool(OmegaConf.select(cfg, "trainer.repeat_first_batch", default=False))


def score(cfg: DictConfig) -> float | None:
    """Return the `objective`, in its best epoch, of the run that a configuration trained; None if there is none.

    Raises:
        Unreadable: its records are damaged, or end before the run did.
    """
    if (run := as_sweep_run(cfg, "").run) is None:
        return None
    metrics = run.metrics()
    run.require_all_epochs(run.status(), metrics)
    return best_epoch(metrics).get(OmegaConf.select(cfg, "objective", default="dice"))


def check_ranks(cfg: DictConfig, tasks: int, starter: str) -> None:
    """Check that a training run is started with its `trainer.ranks` processes.

    Args:
        cfg: the run.
        tasks: ranks that `starter` starts; where it is one, `trainer.devices` may start more.
        starter: what starts them, for the message.

    Raises:
        ConfigError: another number of processes would train it: a different run under the same name.
    """
    ranks, devices = int(cfg.trainer.ranks), int(cfg.trainer.devices)
    started, by = (tasks, starter) if tasks > 1 else (devices, f"trainer.devices={devices}")
    if started != ranks:
        raise ConfigError(
            f"trainer.ranks={ranks}, but {by} starts {started} process{'es' if started > 1 else ''}; start {ranks}, or "
            f"set trainer.ranks={started}, which is a different run: a step takes trainer.ranks × trainer.batch_size "
            "samples"
        )


def plan_sweep(sweep_runs: Sequence[SweepRun]) -> SweepPlan:
    """Sort the runs of a sweep by what has to be done.

    Raises:
        ConfigError: a run exists or is queued with a different configuration, or occurs twice in the sweep.
    """
    check_no_conflict(sweep_runs)
    _check_queued(sweep_runs)
    plan = SweepPlan([], {}, [], [])
    open_runs = [(i, each.run) for i, each in enumerate(sweep_runs) if each.run and not each.run.is_finished()]
    submissions = {i: s for i, r in open_runs if (s := read_submission(r.path))}
    active = active_states(submissions.values())
    for i, each in enumerate(sweep_runs):
        if each.run is None:
            plan.to_submit.append(i)
        elif each.run.is_finished():  # read again, as one that is not active any more may have finished since
            plan.finished.append(i)
        elif i in submissions and submissions[i] in active:
            plan.already_submitted[i] = submissions[i]
        elif each.run.is_locked():
            plan.running_elsewhere.append(i)
        else:
            plan.to_submit.append(i)
    return plan


def check_no_conflict(sweep_runs: Sequence[SweepRun]) -> None:
    """Check that no run exists with a different configuration or occurs twice in the sweep.

    Raises:
        ConfigError: one does.
    """
    _check_no_duplicates(sweep_runs)
    for each in sweep_runs:
        check_same_configuration(each)


@contextlib.contextmanager
def submission_lock(sweep_runs: Sequence[SweepRun]) -> Iterator[None]:
    """Hold the lock from planning until submissions are recorded, so that two launchers never submit the same run."""
    with contextlib.ExitStack() as stack:
        for root in sorted({r.run.path.parents[3] for r in sweep_runs if r.run}):
            root.mkdir(parents=True, exist_ok=True)
            file = root / ".submission.lock"
            try:
                wait_for_lock(stack.enter_context(lock_file(file)))
            except PermissionError:
                raise UserError(
                    f"{file} cannot be written by you, and without it two launchers could submit the same run; have "
                    "its owner run chmod g+w on it (umask 002 makes new files so), or set paths.work"
                ) from None
        yield


def _check_no_duplicates(sweep_runs: Sequence[SweepRun]) -> None:
    earlier: dict[Path, SweepRun] = {}
    for each in sweep_runs:
        if each.run is None:
            continue
        if other := earlier.get(each.run.path):
            pairs = ((other, each), (each, other))
            own = [" ".join(o.lstrip("+") for o in a.overrides if o not in b.overrides) for a, b in pairs]
            by = f", by {own[0]} and by {own[1]}" if all(own) else ""
            raise ConfigError(f"{each.label} is twice in the sweep{by}; leave one out, or give each its own name=…")
        earlier[each.run.path] = each


def _check_queued(sweep_runs: Sequence[SweepRun]) -> None:
    """Check that no job whose run has not recorded its identity yet has other settings under a name of the sweep.

    Raises:
        ConfigError: one does.
    """
    own = {each.run.path: each for each in sweep_runs if each.run}
    different: dict[Submission, str] = {}
    for experiment, any_run in {path.parents[2]: each for path, each in own.items()}.items():
        for run, submission in _submitted_runs(experiment):
            pair = submission.identity, identity(resolve(own.get(run.path, any_run).cfg))
            if found := differences(*(pair if run.path in own else map(shared, pair))):
                different[submission] = f"{run.path} is submitted with other settings ({'; '.join(found[:3])})"
    for submission, state in active_states(different).items():
        job = f"{'process' if submission.cluster == LOCAL else 'SLURM job'} {submission.job}"
        raise ConfigError(
            f"{different[submission]} by {job}; give this sweep another name=…, or stop it first"
            + (" (SLURM does not answer here; if it has ended, delete the launch.json there)" if state is None else "")
        )


def _submitted_runs(experiment: Path) -> Iterator[tuple[RunDirectory, Submission]]:
    """Yield the runs of an experiment that were submitted and have not recorded their identity, with it."""
    for run in find_runs(experiment.parent, [experiment.name]):
        with contextlib.suppress(Unreadable):  # job=verify names it
            submission = None if run.identity() is not None else read_submission(run.path)
            if submission is not None and submission.identity:
                yield run, submission


def check_same_configuration(each: SweepRun) -> None:
    """Check that the run, or another one of its name if it was not started, has the configuration of `each`.

    Raises:
        ConfigError: it has another one; names the first differences.
    """
    if each.run and (reason := conflict(each.run, lambda: identity(resolve(each.cfg)))) is not None:
        raise ConfigError(reason)


def other_settings(cfg: DictConfig, run: RunDirectory) -> str:
    """Return the first settings in which `run`, if it was started, differs from `cfg`; "" if it does not."""
    recorded = run.identity()
    return "" if recorded is None else "; ".join(differences(recorded, identity(resolve(cfg)))[:3])
