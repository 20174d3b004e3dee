from __future__ import annotations

import math

import numpy as np
import pytest
from pandas import DataFrame
from schemes import BRATS2021, MEN_RT, REGIONS

from brats_ablate.tables.strata import strata


def _rows(dice: np.ndarray, et_voxels: list[float] | None = None) -> DataFrame:
    n = len(dice)
    rows = DataFrame(dice, [f"c{i:03d}" for i in range(n)], list(REGIONS))
    return rows.assign(fold=np.arange(n) % 5, reference_voxels=et_voxels if et_voxels is not None else math.nan)


def test_strata_by_hand() -> None:
    sizes = [0, 10, 499, 500, 9000]
    base = np.full((5, 3), 0.8)
    changed = base + np.array([0.1, 0.2, 0.4, 0.0, 0.0])[:, None]
    rows = [_rows(base, sizes), _rows(changed, sizes)]
    subgroups = strata([(0, None), (1, 0)], rows, str, labels=BRATS2021)
    assert [(s.column, s.cases) for s in subgroups] == [(0, 1), (1, 1), (0, 2), (1, 2), (0, 2), (1, 2)]
    assert [round(s.difference, 6) for s in subgroups if s.column == 1] == [0.1, 0.3, 0.0]
    assert math.isnan(subgroups[0].difference)
    np.testing.assert_allclose(subgroups[3].dice, [1.1] * 3)


def test_a_column_with_missing_cases_has_smaller_strata() -> None:
    sizes = [0, 10, 499, 500, 9000]
    whole = _rows(np.full((5, 3), 0.8), sizes)
    subgroups = strata([(0, None), (1, 0)], [whole, whole[2:]], str, labels=BRATS2021)
    assert [(s.title, s.column, s.cases) for s in subgroups] == [
        ("no ET", 0, 1),
        ("ET < 500 voxels", 0, 2),
        ("ET < 500 voxels", 1, 1),
        ("ET ≥ 500 voxels", 0, 2),
        ("ET ≥ 500 voxels", 1, 2),
    ]


def test_strata_of_other_labels_are_by_their_own_region() -> None:
    sizes = [0.0, 10, 499, 500, 9000]
    rows = [
        DataFrame({"GTV": values}, [f"c{i}" for i in range(5)]).assign(fold=0, reference_voxels=sizes)
        for values in ([0.5] * 5, [0.5, 0.6, 0.8, 0.5, 0.5])
    ]
    subgroups = strata([(0, None), (1, 0)], rows, str, labels=MEN_RT)
    assert [s.title for s in subgroups[::2]] == ["no GTV", "GTV < 500 voxels", "GTV ≥ 500 voxels"]
    assert [s.difference for s in subgroups[1::2]] == pytest.approx([0, 0.2, 0])
    np.testing.assert_allclose(subgroups[3].dice, [0.7])


def test_without_sizes_there_are_no_strata() -> None:
    assert strata([(0, None)], [_rows(np.full((5, 3), 0.8))], str, labels=BRATS2021) == []


def test_scans_of_a_patient_are_averaged() -> None:
    base = np.full((5, 3), 0.5)
    rows = [_rows(values, [900] * 5) for values in (base, base + np.array([0.1, 0.3, 0.0, 0.0, 0.4])[:, None])]
    patients = {"c000": "a", "c001": "a", "c002": "b", "c003": "b"}
    (_, subgroup) = strata([(0, None), (1, 0)], rows, lambda c: patients.get(c, c), labels=BRATS2021)
    assert (subgroup.cases, subgroup.patients) == (5, 3)
    assert subgroup.difference == pytest.approx((0.2 + 0.0 + 0.4) / 3)
