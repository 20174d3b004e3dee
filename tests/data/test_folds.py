from __future__ import annotations

import json
from pathlib import Path

import pytest
from sklearn.model_selection import KFold

from brats_ablate.data.folds import patient_of_case, split
from brats_ablate.errors import DataError

# Validation indices for the 1,251 cases of BraTS 2021, as the paper's code draws them.
PAPER_FIRST_FIVE = [
    [0, 6, 10, 17, 20],
    [3, 4, 7, 8, 14],
    [11, 21, 27, 31, 32],
    [2, 9, 12, 13, 18],
    [1, 5, 16, 23, 34],
]


def _ids(count: int) -> list[str]:
    return [f"case_{i:05d}" for i in range(count)]


def test_the_papers_folds():
    ids = _ids(1251)
    folds = split(list(reversed(ids)), {i: i for i in ids})
    assert [len(f) for f in folds] == [251, 250, 250, 250, 250]
    assert [[ids.index(c) for c in fold[:5]] for fold in folds] == PAPER_FIRST_FIVE


@pytest.mark.parametrize(("count", "n_folds", "seed"), [(8, 5, 12345), (10, 5, 12345), (369, 5, 12345), (23, 4, 7)])
def test_equals_sklearn(count, n_folds, seed):
    ids = _ids(count)
    expected = [
        [ids[i] for i in validation] for _, validation in KFold(n_folds, shuffle=True, random_state=seed).split(ids)
    ]
    assert split(ids, {i: i for i in ids}, n_folds, seed) == expected


def test_scans_of_a_patient_stay_together():
    ids = [f"P{p:02d}-{s}" for p in range(9) for s in range(1 + p % 3)]
    folds = split(ids, {i: i[:3] for i in ids})
    assert sorted(c for fold in folds for c in fold) == ids
    for patient in {i[:3] for i in ids}:
        assert sum(any(c.startswith(patient) for c in fold) for fold in folds) == 1


def test_fewer_patients_than_folds():
    with pytest.raises(DataError, match=r"4 patients cannot be split into 5 folds; lower data\.n_folds"):
        split(_ids(4), {i: i for i in _ids(4)})


def test_the_patients_of_the_prepared_cases_are_read(tmp_path: Path) -> None:
    assert patient_of_case(tmp_path) == {}
    records = [{"case_id": case, "patient_id": patient} for case, patient in (("a-0", "a"), ("a-1", "a"), ("b", "b"))]
    (tmp_path / "records.jsonl").write_text("\n".join(map(json.dumps, records)) + "\n")
    assert patient_of_case(tmp_path) == {"a-0": "a", "a-1": "a"}
