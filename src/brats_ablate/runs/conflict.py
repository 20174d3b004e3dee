"""Why a configuration cannot be trained under a name: the runs of one name differ in fold, learning rate and seed only.

Tables, predictions and reports count them as one experiment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from brats_ablate.errors import Unreadable
from brats_ablate.runs.directory import RunDirectory
from brats_ablate.runs.identity import COORDINATES, INITIAL_WEIGHTS, differences

_SHOWN = 3


def conflict(run: RunDirectory, identity: Callable[[], Mapping[str, Any]]) -> str | None:
    """Return why a run of an `identity` cannot be trained in the directory `run`; None if it can.

    A run that was started is compared with its own identity, another one with any started run of the same name.
    `identity` is called only where there is one to compare with.
    """
    recorded = run.identity()
    if recorded is not None:
        if not (found := differences(recorded, identity())):
            return None
        return (
            f"{run.path} was started with a different configuration ({'; '.join(found[:_SHOWN])}); give this one "
            "another name=…, or delete that directory"
        )
    experiment = run.path.parents[2]
    trained = _identity_of_one(experiment)
    if trained is None or not (found := differences(_shared(trained), _shared(identity()))):
        return None
    return (
        f"{experiment} contains runs of other settings ({'; '.join(found[:_SHOWN])}), and tables count all runs of a "
        "name as one experiment; give this one another name=…, or delete that directory"
    )


def _identity_of_one(experiment: Path) -> dict[str, Any] | None:
    """Return the identity of a started run of an experiment; None if there is none."""
    for file in experiment.glob("fold=*/lr=*/seed=*/manifest.json"):
        with suppress(Unreadable):  # job=verify names it
            if (recorded := RunDirectory(file.parent).identity()) is not None:
                return recorded
    return None


def _shared(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the runs of one name share: each fold can have initial weights of its own."""
    return {key: value for key, value in identity.items() if key not in COORDINATES | {INITIAL_WEIGHTS}}
