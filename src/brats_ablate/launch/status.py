"""Status of runs (state, progress, best Dice, time left, reason of failure) as a grid for the terminal, and as data.

Reads a few small files per run (status, submission, the end of the metrics), so that a thousand runs take a second.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

from brats_ablate.errors import Unreadable
from brats_ablate.launch.outcome import final_state_cause
from brats_ablate.launch.submission import (
    SLURM,
    Submission,
    active_states,
    read_submission,
    slurm_final_states,
    unanswered,
)
from brats_ablate.runs.directory import (
    COMPUTED_WITH,
    PEER_LOST,
    Coordinates,
    RunDirectory,
    RunRecord,
    require_numbers,
)
from brats_ablate.runs.state import RunState
from brats_ablate.runtime.files import parse_object, readable
from brats_ablate.runtime.text import align, counted, format_duration

_TAIL_BYTES = 16_384
EPOCHS_TIMED = 10
"""Last epochs whose median time counts."""


@dataclass(frozen=True)
class RunStatus:
    """Status of one run."""

    coordinates: Coordinates
    path: str
    state: RunState
    epoch: int = 0
    epochs: int = 0
    best: float | None = None
    seconds_left: float | None = None
    patches_per_second: float | None = None
    """While it runs, over the last epochs, without validation."""
    reason: str | None = None
    updated: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON, with the coordinates among them."""
        fields = asdict(self)
        coordinates: dict[str, Any] = fields.pop("coordinates")
        return coordinates | fields


SecondsLeft = Callable[[RunDirectory, RunRecord, Sequence[Mapping[str, Any]]], float | None]
"""Estimates the time left of a running run from its progress and the end of its metrics; None if it is not known."""


def epochs_alike(run: RunDirectory, record: RunRecord, rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the time left by the last epochs' median time, validation included; None before the first epoch."""
    seconds = [float(row["seconds"]) for row in rows if row.get("seconds")]
    return median(seconds[-EPOCHS_TIMED:]) * (record.epochs - record.epoch) if seconds and record.epochs else None


def collect_statuses(runs: Iterable[RunDirectory], seconds_left: SecondsLeft = epochs_alike) -> list[RunStatus]:
    """Return the status of each run, in the order given. Queries the scheduler once, and only if runs are open.

    A run with a damaged file is UNREADABLE, and its reason names the file.
    """
    records = [(run, *_read(run)) for run in runs]
    submissions = {run.path: s for run, _, s in records if s is not None}
    active = active_states(submissions.values())
    statuses = []
    for run, record, submission in records:
        try:
            statuses.append(_run_status(run, record, submission, active, seconds_left))
        except Unreadable as error:
            statuses.append(RunStatus(run.coordinates, str(run.path), RunState.UNREADABLE, reason=str(error)))
    return _with_slurm_causes(statuses, submissions)


def _read(run: RunDirectory) -> tuple[RunRecord | None, Submission | None]:
    """Return what a run recorded, and its submission if it is not finished."""
    try:
        record = run.status()
        finished = record is not None and record.state == RunState.FINISHED
        return record, None if finished else read_submission(run.path)
    except Unreadable as error:
        return RunRecord(RunState.UNREADABLE, reason=str(error)), None


def format_status_grid(statuses: Sequence[RunStatus]) -> str:
    """Return rows experiment × learning rate (× seed), a column per fold; the counts; and each failure's reason."""
    if not statuses:
        return "no runs"
    folds = sorted({s.coordinates.fold for s in statuses})
    has_seeds = len({s.coordinates.seed for s in statuses}) > 1
    cells: dict[tuple[str, float, int], dict[int, str]] = {}
    for each in statuses:
        c = each.coordinates
        cells.setdefault((c.name, c.lr, c.seed), {})[c.fold] = _cell(each)
    rows = [["experiment", "lr", *(["seed"] if has_seeds else []), *(f"fold {f}" for f in folds)]]
    for (name, lr, seed), by_fold in cells.items():
        rows.append([name, f"{lr:g}", *([str(seed)] if has_seeds else []), *(by_fold.get(f, "") for f in folds)])
    counts = [f"{n} {state}" for state in RunState if (n := sum(s.state == state for s in statuses))]
    lines = [align(rows), "", f"{counted(len(statuses), 'run')}: {', '.join(counts)}{_pace_of_all(statuses)}"]
    for each in (s for s in statuses if s.reason):
        where = f" at epoch {each.epoch}/{each.epochs}" if each.epochs else ""
        lines.append(f"  {each.coordinates}: {each.state}{where}: {each.reason}")
    return "\n".join(lines)


def _run_status(
    run: RunDirectory,
    record: RunRecord | None,
    submission: Submission | None,
    active: Mapping[Submission, RunState | None],
    seconds_left: SecondsLeft,
) -> RunStatus:
    never_recorded = record is None
    silent = submission if submission is not None and active.get(submission, RunState.QUEUED) is None else None
    record = record or RunRecord(RunState.NOT_STARTED if submission in (None, silent) else RunState.LOST)
    state = record.state
    if state == RunState.RUNNING and not run.is_locked():
        state = RunState.LOST
    if state not in (RunState.FINISHED, RunState.RUNNING) and submission in active and not silent:
        state = RunState.QUEUED
    reason = record.reason if state in (RunState.FAILED, RunState.INTERRUPTED, RunState.UNREADABLE) else None
    if state == RunState.LOST and never_recorded and submission is not None:
        reason = f"its job ended before the run started; see the log in {submission.folder}"
    elif silent is not None and state != RunState.RUNNING:
        reason = "; ".join(filter(None, (reason, unanswered(run.path, silent))))
    elif state == RunState.LOST:
        reason = f"its process was lost ({run.lock_owner()}); run the same command again to resume"
    rows = _last_rows(run.path / "metrics.jsonl") if state == RunState.RUNNING else []
    left = seconds_left(run, record, rows) if rows else None
    progress = (record.epoch, record.epochs, record.best, left, _patches_per_second(rows))
    return RunStatus(run.coordinates, str(run.path), state, *progress, reason, record.updated or None)


def _with_slurm_causes(statuses: list[RunStatus], submissions: Mapping[Path, Submission]) -> list[RunStatus]:
    """Replace the reason of lost runs, and of runs that lost a rank, by the cause that SLURM names."""
    lost = {s.path: submissions[Path(s.path)] for s in statuses if _lacks_cause(s) and Path(s.path) in submissions}
    final_states = slurm_final_states(s.job for s in lost.values() if s.cluster == SLURM)
    causes = {path: cause for path, s in lost.items() if (cause := final_state_cause(final_states.get(s.job)))}
    return [replace(s, reason=causes[s.path]) if s.path in causes else s for s in statuses]


def _lacks_cause(status: RunStatus) -> bool:
    return status.state == RunState.LOST or (status.state == RunState.FAILED and PEER_LOST in (status.reason or ""))


def _patches_per_second(rows: Sequence[Mapping[str, Any]]) -> float | None:
    patches = [float(row["patches_per_second"]) for row in rows if row.get("patches_per_second")]
    return median(patches[-EPOCHS_TIMED:]) if patches else None


def _pace_of_all(statuses: Sequence[RunStatus]) -> str:
    """Return throughput and time left of all runs as the end of a line, if some run; "" if not known.

    Waiting runs count like a whole run of those that are running, as many at a time as are running now.
    """
    running = [s for s in statuses if s.state == RunState.RUNNING and s.seconds_left is not None and s.epochs > s.epoch]
    if not running:
        return ""
    waiting = sum(s.state in (RunState.QUEUED, RunState.NOT_STARTED) for s in statuses)
    left = [s.seconds_left or 0.0 for s in running]
    whole = fmean(seconds * s.epochs / (s.epochs - s.epoch) for seconds, s in zip(left, running, strict=True))
    patches = sum(s.patches_per_second or 0.0 for s in running)
    rate = f"; {patches:.3g} patches/s" if patches else ""
    return f"{rate}; about {format_duration(max(max(left), (sum(left) + waiting * whole) / len(running)))} left"


def _last_rows(file: Path) -> list[dict[str, Any]]:
    """Return the objects at the end of a JSONL file without reading all of it."""
    if not file.exists():
        return []
    with file.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - _TAIL_BYTES))
        lines = stream.read().split(b"\n")
    complete = lines[:-1] if size <= _TAIL_BYTES else lines[1:-1]
    with readable(file):
        rows = [parse_object(line) for line in complete if line]
        require_numbers(rows, COMPUTED_WITH)
        return list({row["epoch"]: row for row in rows}.values())


def _cell(status: RunStatus) -> str:
    percent = f"{100 * status.epoch // status.epochs}%" if status.epochs else ""
    match status.state:
        case RunState.NOT_STARTED:
            return "-"
        case RunState.FINISHED:
            return f"{status.best:.4f}" if status.best is not None else "finished"
        case RunState.RUNNING:
            best = f"{status.best:.3f}" if status.best is not None else ""
            left = format_duration(status.seconds_left) if status.seconds_left is not None else ""
            return " ".join(part for part in (percent, best, left) if part) or "running"
    return f"{status.state} {percent}".strip()
