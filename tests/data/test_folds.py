from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import KFold

from brats_ablate.cases import RawCase
from brats_ablate.data.folds import fold_of_case, fraction_of, frozen_or_drawn, patient_finder, patient_of_case, split
from brats_ablate.errors import DataError, Unreadable

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


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    cases=st.sets(st.tuples(st.integers(0, 30), st.integers(0, 3)), min_size=1),
    fractions=st.tuples(*[st.floats(0.001, 1.0)] * 2),
    draw=st.integers(0, 99),
)
def test_fractions_are_nested_whole_patients_of_the_right_number(
    cases: set[tuple[int, int]], fractions: tuple[float, float], draw: int
) -> None:
    ids = [f"P{patient:02d}-{scan}" for patient, scan in sorted(cases)]
    small, large = (fraction_of(ids, lambda c: c[:3], f, draw) for f in sorted(fractions))
    assert set(small) <= set(large) <= set(ids)
    patients = {c[:3] for c in ids}
    for taken, fraction in zip((small, large), sorted(fractions), strict=True):
        chosen = {c[:3] for c in taken}
        assert taken == [c for c in ids if c[:3] in chosen]
        assert abs(len(chosen) - fraction * len(patients)) <= 0.5 or (len(chosen) == 1 and fraction * len(patients) < 1)
    assert fraction_of(ids, lambda c: c[:3], 1.0, draw) == ids


def test_a_fraction_depends_on_the_draw_and_not_on_the_other_cases() -> None:
    ids = _ids(200)
    half = fraction_of(ids, str, 0.5, 12345, 0)
    assert half != fraction_of(ids, str, 0.5, 12345, 1)
    ranked = [set(fraction_of(ids, str, (k + 1) / 200, 12345, 0)) for k in range(200)]
    place = {c: next(k for k, taken in enumerate(ranked) if c in taken) for c in ids}
    some = ids[::3]
    assert set(fraction_of(some, str, 0.1, 12345, 0)) == set(sorted(some, key=place.__getitem__)[:7])


def test_folds_of_no_case_are_empty():
    assert split([], {}, 3) == [[], [], []]


def test_fewer_patients_than_folds():
    with pytest.raises(DataError, match=r"4 patients cannot be split into 5 folds; lower data\.n_folds"):
        split(_ids(4), {i: i for i in _ids(4)})
    with pytest.raises(DataError, match=r"^1 patient cannot be split into 2 folds; add cases of others"):
        split(_ids(4), dict.fromkeys(_ids(4), "one"), 2)


def test_patients_are_those_prepared_then_those_of_the_pattern(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text(
        '{"case_id": "x-1", "patient_id": "x"}\n{"case_id": "y", "patient_id": "y"}\n'
    )
    find = patient_finder(patient_of_case(tmp_path), r"(BraTS-GLI-\d+)-\d{3}")
    assert [find(c) for c in ("x-1", "y", "BraTS-GLI-00005-101", "other")] == ["x", "y", "BraTS-GLI-00005", "other"]
    assert patient_finder(patient_of_case(tmp_path / "absent"), None)("x-1") == "x-1"


@pytest.mark.parametrize("content", ["", "[1, }", '{"case_id": "x"}\n', "[1]\n"])
def test_damaged_files_of_folds_and_patients_are_named(tmp_path: Path, content: str) -> None:
    for name, read in (("folds.json", fold_of_case), ("records.jsonl", patient_of_case)):
        (tmp_path / name).write_text(content)
        with pytest.raises(Unreadable, match=rf"{name} is damaged, or of a later version"):
            read(tmp_path)
    with pytest.raises(Unreadable, match=r"folds\.json is damaged"):
        frozen_or_drawn(tmp_path / "folds.json", [], 5, 0)


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        ([["a", "b"], ["b"]], "has case b more than once; leave it in one fold"),
        ([["a", "a"], ["b"]], "has case a more than once"),
        ([["a", "b"]], "has 1 folds, and n_folds=2; correct it"),
    ],
)
def test_edited_folds_that_are_no_partition_are_refused(
    tmp_path: Path, validation: list[list[str]], message: str
) -> None:
    cases = [RawCase(c, c, {}, None) for c in "ab"]
    (tmp_path / "folds.json").write_text(json.dumps({"n_folds": 2, "seed": 0, "validation": validation}))
    with pytest.raises(DataError, match=message):
        frozen_or_drawn(tmp_path / "folds.json", cases, 2, 0)
