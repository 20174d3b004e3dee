"""Whether the paper's figures can be compared with a table's runs: they are of its data set and of its schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from brats_ablate.tables.scores import RunSummary
from brats_ablate.tables.spec import TableSpec

_DATA = "brats21"
_FOLDS = 5
_FEWEST_CASES = 1_200
"""Of the 1,251: a few may be left out."""


def is_papers_cohort(data: str, folds: int, cases: int) -> bool:
    """Return whether a data set is the paper's: BraTS 2021 in five folds. `cases` is 0 where it is not prepared."""
    return data == _DATA and folds == _FOLDS and (cases == 0 or cases >= _FEWEST_CASES)


def is_papers_schedule(spec: TableSpec, runs: Mapping[str, Sequence[RunSummary]]) -> bool:
    """Return whether the runs of all columns with figures have as many epochs as the paper's, on all training cases."""
    return all(
        identity.get("trainer.epochs") == column.paper.epochs and identity.get("data.fraction", 1) == 1
        for column in spec.columns
        if column.paper
        for identity in (run.manifest.get("identity") or {} for run in runs.get(column.experiment or "", ()))
    )
