"""Cross-validation folds, frozen next to the prepared data (paper section 3: five folds).

Equal to scikit-learn's `KFold(n_folds, shuffle=True, random_state=seed)` over the sorted ids, which the paper's code
uses with seed 12345. The one difference: whole patients are split, so several scans of a patient share a fold. Where
every patient has one scan, the folds are the paper's.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from brats_ablate.cases import RawCase
from brats_ablate.errors import DataError, Unreadable
from brats_ablate.runtime.files import read_json, readable, to_json
from brats_ablate.runtime.random import derive_seed
from brats_ablate.runtime.text import counted, first_few

PREPARE = "run job=prepare"


def with_patients(cases: Iterable[RawCase], pattern: str) -> list[RawCase]:
    """Return the cases with the patients that their ids name.

    Args:
        cases: as found.
        pattern: a regular expression at the start of the id; the patient is its first group, or all of it.

    Raises:
        DataError: an id does not match.
    """
    named = []
    for case in cases:
        match = re.match(pattern, case.case_id)
        if match is None or not (patient := match[1 if match.re.groups else 0]):
            raise DataError(f"data.patient={pattern} finds no patient in the case id {case.case_id}; correct it")
        named.append(replace(case, patient_id=patient))
    return named


def split(
    case_ids: Sequence[str], patient_ids: Mapping[str, str], n_folds: int = 5, seed: int = 12345
) -> list[list[str]]:
    """Return the validation ids of each fold, each list sorted; `patient_ids` holds the patient of each case.

    Without any case, all folds are empty.

    Raises:
        DataError: fewer patients than folds.
    """
    patients = sorted({patient_ids[c] for c in case_ids})
    if 0 < len(patients) < n_folds:
        remedy = "lower data.n_folds" if len(patients) > 1 else "add cases of others"
        raise DataError(f"{counted(len(patients), 'patient')} cannot be split into {n_folds} folds; {remedy}")
    order = np.arange(len(patients))
    # scikit-learn shuffles with this legacy generator; NumPy's compatibility policy freezes its stream.
    np.random.RandomState(seed).shuffle(order)
    members = [{patients[i] for i in part} for part in np.array_split(order, n_folds)]
    return [sorted(c for c in case_ids if patient_ids[c] in fold) for fold in members]


def fingerprint(folds: Sequence[Sequence[str]]) -> str:
    """Return the sha256 of the validation ids of each fold."""
    return hashlib.sha256(to_json(list(map(sorted, folds))).encode()).hexdigest()


def fraction_of(case_ids: Sequence[str], patient_of: Callable[[str], str], fraction: float, *draw: int) -> list[str]:
    """Return the training cases of a fraction of the patients, in the order of `case_ids`.

    Patients are ranked by a random number that depends on `draw` and on the patient alone, and the first ones are
    taken: those of a smaller fraction are among those of a larger one, and a case that is added moves no other.

    Args:
        case_ids: the training cases of a fold.
        patient_of: case id -> patient, all of whose scans are taken or left.
        fraction: of the patients, above 0 and at most 1; rounded to whole patients, at least one.
        draw: what the order is drawn by, such as seed and fold.
    """
    patients = sorted({patient_of(c) for c in case_ids}, key=lambda patient: derive_seed("fraction", *draw, patient))
    taken = set(patients[: max(1, round(fraction * len(patients)))])
    return [c for c in case_ids if patient_of(c) in taken]


def frozen_or_drawn(path: Path, cases: Sequence[RawCase], n_folds: int, seed: int) -> dict[str, Any]:
    """Return the content of the file `path` after a check that it has the same cases, or new folds to write there.

    Raises:
        DataError: cases, number or seed differ from the frozen ones, or a case or patient is in several folds.
        Unreadable: the file is damaged.
    """
    ids = sorted({c.case_id for c in cases})
    if not path.exists():
        drawn = split(ids, {c.case_id: c.patient_id for c in cases}, n_folds, seed)
        return {"n_folds": n_folds, "seed": seed, "validation": drawn}
    frozen = read_json(path)
    renew = f"delete {path} for new ones (earlier runs are not comparable then), or set paths.prepared to a new folder"
    if not {"n_folds", "seed", "validation"} <= frozen.keys():
        raise Unreadable(path, "it holds no folds")
    if (frozen["n_folds"], frozen["seed"]) != (n_folds, seed):
        raise DataError(
            f"the folds were frozen with data.n_folds={frozen['n_folds']} data.fold_seed={frozen['seed']}; {renew}"
        )
    in_folds = sorted(c for fold in frozen["validation"] for c in fold)
    if len(frozen["validation"]) != n_folds:
        raise DataError(f"{path} has {len(frozen['validation'])} folds, and n_folds={n_folds}; correct it, or {renew}")
    if repeated := [c for c, following in pairwise(in_folds) if c == following]:
        raise DataError(f"{path} has case {repeated[0]} more than once; leave it in one fold, or {renew}")
    known = set(in_folds)
    if known != set(ids):
        changed = {"added": sorted(set(ids) - known), "removed": sorted(known - set(ids))}
        listed = "; ".join(f"{len(names)} {what}: {first_few(names)}" for what, names in changed.items() if names)
        raise DataError(f"the cases changed since the folds were frozen ({listed}); {renew}")
    fold_of = {case_id: fold for fold, ids in enumerate(frozen["validation"]) for case_id in ids}
    seen: dict[str, int] = {}
    for case in cases:
        if seen.setdefault(case.patient_id, fold_of[case.case_id]) != fold_of[case.case_id]:
            raise DataError(f"scans of patient {case.patient_id} are in several of the frozen folds; {renew}")
    return frozen


def fold_of_case(prepared: Path) -> dict[str, int]:
    """Return case id -> validation fold, from the frozen folds; {} where the data set is not prepared.

    Raises:
        Unreadable: the file is damaged.
    """
    file = prepared / "folds.json"
    folds = read_json(file)
    if not file.exists():
        return {}
    with readable(file, PREPARE):
        return {case_id: fold for fold, case_ids in enumerate(folds["validation"]) for case_id in case_ids}


def patient_of_case(prepared: Path) -> dict[str, str]:
    """Return case id -> patient, of the prepared cases; {} where the data set is not prepared.

    Raises:
        Unreadable: the file is damaged.
    """
    file = prepared / "records.jsonl"
    if not file.exists():
        return {}
    with readable(file, PREPARE):
        records = list(map(json.loads, file.read_text(encoding="utf-8").splitlines()))
        if not records:
            raise ValueError("it is empty")
        return {record["case_id"]: record["patient_id"] for record in records}


def patient_finder(prepared: Mapping[str, str], pattern: str | None) -> Callable[[str], str]:
    """Return a function case id -> patient: as prepared, else as `pattern` finds it (see `with_patients`).

    A case that neither has is a patient of its own.
    """

    def patient_of(case_id: str) -> str:
        match = None if pattern is None else re.match(pattern, case_id)
        named = match[1 if match.re.groups else 0] if match else None
        return prepared.get(case_id) or named or case_id

    return patient_of
