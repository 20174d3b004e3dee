"""Where runs stand: state, progress, best Dice, time left, reason of failure; as a grid for a terminal, and as data.

Reads a few small files per run (status, ticket, the end of the metrics), so that a thousand runs take a second.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from brats_ablate.launch import submission as tickets
from brats_ablate.launch.outcome import cause_of
from brats_ablate.launch.submission import Submission, read_submission
from brats_ablate.runs.directory import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    PEER_LOST,
    RUNNING,
    Coordinates,
    RunDirectory,
    RunRecord,
)

QUEUED, DEAD, NOT_STARTED = "queued", "dead", "not started"
_ORDER = (FINISHED, RUNNING, QUEUED, INTERRUPTED, FAILED, DEAD, NOT_STARTED)
_WORDS = {FAILED: "failed", DEAD: "dead", INTERRUPTED: "stopped", QUEUED: "queued"}
_TAIL_BYTES = 16_384
_EPOCHS_TIMED = 10


@dataclass(frozen=True)
class RunStatus:
    """Where one run stands."""

    coordinates: Coordinates
    path: str
    state: str
    epoch: int = 0
    epochs: int = 0
    best: float | None = None
    seconds_left: float | None = None
    reason: str | None = None
    updated: str | None = None

    def as_dict(self) -> dict[str, Any]:
        own = asdict(self)
        return own.pop("coordinates") | own


def collect_statuses(runs: Iterable[RunDirectory]) -> list[RunStatus]:
    """Where each run stands, in the order given. The scheduler is asked once, and only if a run has a ticket open."""
    runs = list(runs)
    read = [(run, run.status()) for run in runs]
    is_open = [run for run, status in read if status is None or status.state != FINISHED]
    held = {run.path: ticket for run in is_open if (ticket := read_submission(run.path)) is not None}
    active = tickets.activity(held.values())
    found = [_standing(run, status, held.get(run.path), active) for run, status in read]
    return _with_causes(found, held)


def format_status_grid(found: Sequence[RunStatus]) -> str:
    """Rows experiment × learning rate (× seed), one column a fold; then the counts, and each failure's reason."""
    if not found:
        return "no runs"
    folds = sorted({s.coordinates.fold for s in found})
    seeds = {s.coordinates.seed for s in found}
    rows: dict[tuple[str, float, int], dict[int, str]] = {}
    for each in found:
        c = each.coordinates
        rows.setdefault((c.name, c.lr, c.seed), {})[c.fold] = _cell(each)
    header = ["experiment", "lr", *(["seed"] if len(seeds) > 1 else []), *(f"fold {f}" for f in folds)]
    lines = [header]
    for (name, lr, seed), cells in rows.items():
        lines.append([name, f"{lr:g}", *([str(seed)] if len(seeds) > 1 else []), *(cells.get(f, "") for f in folds)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    text = ["  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]
    counts = [f"{n} {state}" for state in _ORDER if (n := sum(s.state == state for s in found))]
    text += ["", f"{len(found)} runs: {', '.join(counts)}"]
    text += [f"  {s.coordinates}: {s.state} at epoch {s.epoch}/{s.epochs}: {s.reason}" for s in found if s.reason]
    return "\n".join(text)


def duration(seconds: float) -> str:
    """Seconds as 3d04h, 2h10m, 5m or 40s."""
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if hours >= 24:
        return f"{hours // 24}d{hours % 24:02}h"
    if hours:
        return f"{hours}h{minutes % 60:02}m"
    return f"{minutes}m" if minutes else f"{int(seconds)}s"


def _standing(
    run: RunDirectory, status: RunRecord | None, ticket: Submission | None, active: dict[Submission, str]
) -> RunStatus:
    status = status or RunRecord(NOT_STARTED if ticket is None else DEAD)
    state, left = status.state, None
    if state == RUNNING and not run.is_locked():
        state = DEAD
    if state != FINISHED and state != RUNNING and ticket in active:
        state = QUEUED
    if state == RUNNING:
        left = _seconds_left(run, status)
    reason = status.reason if state in (FAILED, INTERRUPTED) else None
    if state == DEAD and status.state == DEAD and ticket is not None:
        reason = f"its job ended before it began; see its log in {ticket.folder}"
    elif state == DEAD:
        reason = f"its process is gone ({run.lock_owner()}); the same command continues it"
    return RunStatus(
        run.coordinates,
        str(run.path),
        state,
        status.epoch,
        status.epochs,
        status.best,
        left,
        reason,
        status.updated or None,
    )


def _with_causes(found: list[RunStatus], held: dict[Path, Submission]) -> list[RunStatus]:
    """Dead runs, and those of which a rank vanished, with the scheduler's word for their death."""
    dead = {s.path: held[Path(s.path)] for s in found if _wants_a_cause(s) and Path(s.path) in held}
    ends = tickets.slurm_ends(t.job for t in dead.values() if t.cluster == tickets.SLURM)
    causes = {path: cause for path, ticket in dead.items() if (cause := cause_of(ends.get(ticket.job)))}
    return [RunStatus(**{**vars(s), "reason": causes[s.path]}) if s.path in causes else s for s in found]


def _wants_a_cause(each: RunStatus) -> bool:
    return each.state == DEAD or (each.state == FAILED and PEER_LOST in (each.reason or ""))


def _seconds_left(run: RunDirectory, status: RunRecord) -> float | None:
    """From the last epochs' mean time (which includes validation); None before the first epoch."""
    seconds = [row["seconds"] for row in _last_rows(run.path / "metrics.jsonl") if "seconds" in row]
    if not seconds or not status.epochs:
        return None
    return median(seconds[-_EPOCHS_TIMED:]) * (status.epochs - status.epoch)


def _last_rows(file: Path) -> list[dict[str, Any]]:
    """The objects at the end of a JSONL file, without reading all of it."""
    if not file.exists():
        return []
    with file.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - _TAIL_BYTES))
        lines = stream.read().split(b"\n")
    whole = lines[:-1] if size <= _TAIL_BYTES else lines[1:-1]
    return [json.loads(line) for line in whole if line]


def _cell(each: RunStatus) -> str:
    done = f"{100 * each.epoch // each.epochs}%" if each.epochs else ""
    if each.state == FINISHED:
        return f"{each.best:.4f}" if each.best is not None else "finished"
    if each.state == NOT_STARTED:
        return "-"
    if each.state == RUNNING:
        best = f"{each.best:.3f}" if each.best is not None else ""
        left = duration(each.seconds_left) if each.seconds_left is not None else ""
        return " ".join(part for part in (done, best, left) if part) or "running"
    return f"{_WORDS[each.state]} {done}".strip()
