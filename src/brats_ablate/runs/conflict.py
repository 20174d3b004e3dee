"""Why a configuration cannot be trained under a name: the runs of one name differ in fold, learning rate and seed only.

Tables, predictions and reports count them as one experiment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from brats_ablate.errors import Unreadable
from brats_ablate.runs.directory import RunDirectory, find_runs
from brats_ablate.runs.identity import COORDINATES, INITIAL_WEIGHTS, differences
from brats_ablate.runtime.locks import lock_file, wait_for_lock

_SHOWN = 3


def conflict(run: RunDirectory, identity: Callable[[], Mapping[str, Any]]) -> str | None:
    """Return why a run of an `identity` cannot be trained in the directory `run`; None if it can.

    A run that was started is compared with its own identity, another one with the started runs of the same name, of
    which one must agree: an earlier version may have mixed them. `identity` is called only where there is one to
    compare with.
    """
    recorded = run.identity()
    if recorded is not None:
        if not (found := differences(recorded, identity())):
            return None
        if {text.split(":")[0] for text in found} <= COORDINATES - {"lr"}:  # of which a folder has six digits
            return f"{run.path} was started as another run ({'; '.join(found)}) and renamed since; rename it back"
        return (
            f"{run.path} was started with a different configuration ({'; '.join(found[:_SHOWN])}); give this one "
            "another name=…, or delete that directory"
        )
    reason = None
    for other in _started_runs(run.path.parents[2]):
        found = differences(shared(other.identity()), shared(identity()))
        if not found:
            return None
        reason = reason or (
            f"{other.path} has the same name, but other settings ({'; '.join(found[:_SHOWN])}), and tables count all "
            "runs of a name as one experiment; give this one another name=…, or delete the runs of other settings"
        )
    return reason


@contextmanager
def experiment_lock(run: RunDirectory) -> Iterator[None]:
    """Hold the lock of the name of a run, which exists, from its check for a conflict until its identity is recorded.

    Of two that start at the same moment, the second so finds the identity of the first.
    """
    with lock_file(run.path.parents[2] / ".identity.lock") as stream:
        wait_for_lock(stream)
        yield


def _started_runs(experiment: Path) -> Iterator[RunDirectory]:
    """Yield the runs of an experiment that have recorded their identity."""
    for run in find_runs(experiment.parent, [experiment.name]):
        with suppress(Unreadable):  # job=verify names it
            if run.identity() is not None:
                yield run


def shared(identity: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what the runs of one name share: each fold can have initial weights of its own."""
    return {key: value for key, value in (identity or {}).items() if key not in COORDINATES | {INITIAL_WEIGHTS}}
