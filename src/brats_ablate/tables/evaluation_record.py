"""What `job=evaluate` recorded next to its rows, and a note on what differs between two evaluated columns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pandas import DataFrame

from brats_ablate.cases import CROSS_VALIDATED
from brats_ablate.runtime.files import read_json
from brats_ablate.tables.results import NO_FOLD

_UNKNOWN = "unknown"
_PREPARED = "the prepared data's"
_MOST_LETTERS = 40
"""Longer values are not printed; only that they differ."""


@dataclass(frozen=True)
class EvaluationRecord:
    """`evaluation/<name>.json`. Text is empty where nothing is recorded."""

    policy: str
    """Definitions of the metrics."""
    labels: str
    """Label scheme of the predictions' values."""
    predicted_by: Mapping[str, Any]
    """`predictions.json` at the time of the evaluation; {} for predictions of another program."""
    folds: str = ""
    """Whose folds the cases are in, if not those of the prepared data."""

    @property
    def networks(self) -> str:
        """The number of networks that predicted."""
        return str(len(self._members)) if self._members else _UNKNOWN

    @property
    def experiments(self) -> set[str]:
        """The experiments of these networks."""
        return {member.partition(" fold=")[0] for member in self._members}

    @property
    def tta(self) -> str:
        """The class of the test-time augmentation: FlipTTA or NoTTA, for example."""
        target = (self._probabilities.get("tta") or {}).get("_target_")
        return str(target).rpartition(".")[2] if target else _UNKNOWN

    @property
    def is_out_of_fold(self) -> bool:
        """Whether each case was predicted by networks that were not trained on its fold."""
        return self._probabilities.get("cases") == CROSS_VALIDATED

    def trained_on(self, fold_of_case: Mapping[str, int], data_fingerprint: str | None = None) -> set[str]:
        """Return the cases of `fold_of_case` that one of these networks was trained on: all but those of its fold.

        Networks of other data than `data_fingerprint` do not count. Earlier versions did not record these data: their
        networks count. Empty where it is not recorded which cases were predicted.
        """
        if self.folds or self._probabilities.get("cases") in (None, CROSS_VALIDATED):
            return set()
        data_of = self.predicted_by.get("trained_on") or {}
        members = [m for m in self._members if m not in data_of or (data_of[m] and data_of[m] == data_fingerprint)]
        folds = {int(fold) for member in members for fold in re.findall(r" fold=(\d+) ", member)}
        return {case for case, fold in fold_of_case.items() if folds - {fold}}

    @property
    def settings(self) -> dict[str, Any]:
        """Further settings of `job=predict`."""
        others = {k: v for k, v in self._probabilities.items() if k not in ("members", "tta")}
        labeling = (self.predicted_by.get("labels") or {}).get("settings")
        return others | ({"thresholds or post-processing": labeling} if labeling else {})

    @property
    def _members(self) -> list[str]:
        return list(self._probabilities.get("members") or ())

    @property
    def _probabilities(self) -> Mapping[str, Any]:
        return self.predicted_by.get("probabilities") or {}


def read_record(file: Path) -> EvaluationRecord:
    """Read what was recorded next to the rows `file`, a CSV file; evaluations of earlier versions lack some of it."""
    record = read_json(file.with_suffix(".json"))
    texts = {key: record.get(key) or "" for key in ("policy", "labels", "folds")}
    return EvaluationRecord(**texts, predicted_by=record.get("predicted_by") or {})


def evaluation_differences(
    column: tuple[EvaluationRecord, DataFrame], baseline: tuple[EvaluationRecord, DataFrame]
) -> list[str]:
    """Return what differs between two evaluations, each as "name (baseline's value, this one's)".

    Args:
        column: its record and its `results.case_scores`.
        baseline: the same of the other one.
    """
    (theirs, rows), (base, base_rows) = column, baseline
    common = len(rows.index.intersection(base_rows.index))
    facts: list[tuple[str, Any, Any]] = [
        ("cases", len(base_rows), len(rows)),
        ("folds", _folds(base_rows), _folds(rows)),
        ("assignment to folds", base.folds or _PREPARED, theirs.folds or _PREPARED),
        ("networks", base.networks, theirs.networks),
        ("test-time augmentation", base.tta, theirs.tta),
    ]
    if base.settings and theirs.settings:
        keys = dict.fromkeys([*base.settings, *theirs.settings])
        facts += [(key.replace("_", " "), base.settings.get(key), theirs.settings.get(key)) for key in keys]
    facts += [
        ("label values", base.labels or _UNKNOWN, theirs.labels or _UNKNOWN),
        ("definitions of the metrics", base.policy or _UNKNOWN, theirs.policy or _UNKNOWN),
    ]
    differing = [_difference(name, a, b) for name, a, b in facts if a != b]
    is_partial = common < max(len(rows), len(base_rows))
    return [f"{common} common cases", *differing] if is_partial else differing


def _folds(rows: DataFrame) -> int:
    return int(rows.loc[rows["fold"] != NO_FOLD, "fold"].nunique())


def _difference(name: str, a: object, b: object) -> str:
    return f"{name} ({a}, {b})" if max(len(str(a)), len(str(b))) <= _MOST_LETTERS else name
