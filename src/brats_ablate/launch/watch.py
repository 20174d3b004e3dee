"""Waits for submitted runs and tells what became of each; shared by the launchers for SLURM and for one machine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from brats_ablate.launch import outcome
from brats_ablate.launch.outcome import Outcome
from brats_ablate.launch.submission import RUNNING, SLURM, Submission, activity, slurm_ends
from brats_ablate.launch.sweep import SweepPlan, SweepRun


def announce(selection: SweepPlan, total: int) -> None:
    """One line on what is submitted and what is not."""
    parts = [f"{len(selection.due)} of {total} runs to do"]
    parts += [f"{len(selection.finished)} finished before"] if selection.finished else []
    parts += [f"{len(selection.attached)} queued or running already"] if selection.attached else []
    parts += [f"{len(selection.elsewhere)} running elsewhere"] if selection.elsewhere else []
    print(", ".join(parts), flush=True)


def wait(works: Sequence[SweepRun], tickets: Mapping[int, Submission], poll_seconds: float) -> dict[int, Outcome]:
    """Follow the jobs of `tickets` (index in the sweep → ticket) until each has ended; returns their outcomes."""
    outcomes: dict[int, Outcome] = {}
    shown = ""
    while len(outcomes) < len(tickets):
        open_tickets = {i: t for i, t in tickets.items() if i not in outcomes}
        active = activity(open_tickets.values())
        outcomes |= ended(works, {i: t for i, t in open_tickets.items() if t not in active})
        running = sum(state == RUNNING for state in active.values())
        failed = sum(o.is_failure for o in outcomes.values())
        line = f"{len(active) - running} queued, {running} running, {len(outcomes) - failed} finished"
        line += f", {failed} failed or stopped" if failed else ""
        if line != shown:
            print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)
            shown = line
        if active:
            time.sleep(poll_seconds)
    return outcomes


def ended(works: Sequence[SweepRun], tickets: Mapping[int, Submission]) -> dict[int, Outcome]:
    """The outcomes of jobs that have ended."""
    if not tickets:
        return {}
    ends = slurm_ends(t.job for t in tickets.values() if t.cluster == SLURM)
    outcomes = {}
    for i, ticket in tickets.items():
        end, run = outcome.ended_by(ticket, ends), works[i].run
        if run is None:
            outcomes[i] = outcome.of_ended_job(works[i].label, ticket, end)
        else:
            outcomes[i] = outcome.of_ended_run(works[i].label, run, ticket, end)
    return outcomes


def untouched(works: Sequence[SweepRun], selection: SweepPlan) -> dict[int, Outcome]:
    """The outcomes of runs that were neither submitted nor followed."""
    outcomes = {}
    for indices, what in ((selection.finished, outcome.BEFORE), (selection.elsewhere, outcome.ELSEWHERE)):
        for i in indices:
            run = works[i].run
            outcomes[i] = outcome.of_status(works[i].label, run.status() if run else None, what)
    return outcomes


def conclude(outcomes: Mapping[int, Outcome]) -> int:
    """Print the table; the exit code is 1 if any run failed or was stopped."""
    ordered = [outcomes[i] for i in sorted(outcomes)]
    print(outcome.table(ordered), flush=True)
    return int(any(o.is_failure for o in ordered))
