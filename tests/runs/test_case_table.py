"""`cases.jsonl`: what is recorded is read, exactly; in the form of version 0.1.0, an object per epoch and case, too."""

from __future__ import annotations

import base64
import json
import math
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brats_ablate.errors import Unreadable
from brats_ablate.runs.directory import RunDirectory

Rows = list[dict[str, Any]]
DICE = st.none() | st.floats(0, 1) | st.floats(0, 1, width=32)
RECORDS = st.integers(1, 5).flatmap(
    lambda n: st.lists(
        st.tuples(
            st.integers(0, 6),
            st.lists(st.fixed_dictionaries({"WT": DICE, "ET": DICE, "ET_reference": st.integers(0, 9**9)}), min_size=n, max_size=n),
        ),
        max_size=6,
    )
)  # fmt: skip


def rows_of(epoch: int, values: Rows) -> Rows:
    return [{"epoch": epoch, "case": f"c{i}", **row} for i, row in enumerate(values)]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(RECORDS, st.integers(0, 6))
def test_both_forms_in_one_file_read_as_what_was_recorded_last(records: list[tuple[int, Rows]], old: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder))
        expected = {}
        for k, (epoch, values) in enumerate(records):
            rows = rows_of(epoch, values)
            expected[epoch] = rows
            if k < old:  # a run that version 0.1.0 started
                run.append("cases.jsonl", rows)
            else:
                run.append_cases(epoch, [{k: v for k, v in row.items() if k != "epoch"} for row in rows])
        assert run.cases() == [row for epoch in sorted(expected) for row in expected[epoch]]
        for epoch in expected:
            assert run.case_tables({epoch, 7})[epoch].rows == expected[epoch]
        late = {epoch for epoch in expected if epoch > 3}
        assert run.case_tables(late) == {} if not late else set(run.case_tables(late)) == late


def test_the_text_is_base64_of_float32_with_the_cases_listed_once(tmp_path: Path) -> None:
    rows = [{"case": "b", "WT": 0.5, "ET_reference": 7}, {"case": "a", "WT": math.nan, "ET_reference": 0}]
    run = RunDirectory(tmp_path)
    run.append_cases(1, rows)
    run.append_cases(2, [row | {"WT": 0.1} for row in rows])
    RunDirectory(tmp_path).append_cases(3, rows)  # a resumed run lists them again
    cases = '{"cases": ["b", "a"], "ET_reference": [7, 0]'
    of = zlib.crc32(cases.encode())
    half, tenth = (base64.b64encode(struct.pack(*v)).decode() for v in (("<ff", 0.5, math.nan), ("<dd", 0.1, 0.1)))
    epochs = [f'{{"epoch": {epoch}, "cases": {of}, "WT": "{v}"' for epoch, v in ((1, half), (2, tenth), (3, half))]
    expected = [cases, *epochs[:2], cases, epochs[2]]
    lines = (tmp_path / "cases.jsonl").read_text().splitlines()
    assert lines == [f'{text}, "crc32": {zlib.crc32(text.encode())}}}' for text in expected]


def test_an_incomplete_last_line_is_left_out(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    for epoch in (1, 2):
        run.append_cases(epoch, [{"case": "a", "WT": 0.5}])
    file = tmp_path / "cases.jsonl"
    file.write_bytes(file.read_bytes()[:-5])
    assert list(run.case_tables()) == [1]
    run.append_cases(3, [{"case": "a", "WT": 0.5}])
    assert list(run.case_tables()) == [1, 3]


def test_old_rows_with_keys_in_another_order_are_read(tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_text(json.dumps({"case": "x", "epoch": 1, "WT": 1, "TC": 0.5}) + "\n")
    (table,) = RunDirectory(tmp_path).case_tables({1}).values()
    assert (table.cases, table.dice["TC"].tolist(), table.sizes) == (("x",), [0.5], {})
    assert RunDirectory(tmp_path).case_tables({2}) == {}


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.append_cases(1, [{"case": "a", "WT": 0.25}, {"case": "b", "WT": 0.75}])
    file = tmp_path / "cases.jsonl"
    intact = file.read_bytes()
    draw = np.random.default_rng(0)
    for at in draw.choice(len(intact) - 1, 40, replace=False):
        file.write_bytes(intact[:at] + bytes([intact[at] ^ 1]) + intact[at + 1 :])
        with pytest.raises(Unreadable, match=r"cases\.jsonl"):
            run.case_tables()
