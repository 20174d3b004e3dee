from __future__ import annotations

import json
from pathlib import Path

import pytest

from environment import PEERS, requirements
from measuring import Claim, Row, Table, alternate, from_json, isolated, to_json
from report import markdown, summary


def timed_table(*, more_is_better: bool = False) -> Table:
    rows = [Row("ours", [1.0, 2.0, 4.0]), Row("theirs", [3.0, 8.0, 8.0], {"memory GiB": "1.5"})]
    return Table("A step", "s", rows, [Claim("them", "ours", "theirs", 3.0)], more_is_better)


def test_contenders_take_turns_and_the_order_is_reversed() -> None:
    calls: list[str] = []

    def contender(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    found = alternate({name: lambda name=name: contender(name) for name in "abc"}, rounds=2, warm_up=False)
    assert calls == ["a", "b", "c", "c", "b", "a"]
    assert found == {"a": [1.0, 6.0], "b": [2.0, 5.0], "c": [3.0, 4.0]}


def test_a_warm_up_is_not_counted() -> None:
    figures = iter([9.0, 1.0])
    assert alternate({"a": lambda: next(figures)}, rounds=1) == {"a": [1.0]}


def test_ratios_are_taken_round_by_round() -> None:
    table = timed_table()
    assert table.ratios(table.claims[0]) == [3.0, 4.0, 2.0]
    more = timed_table(more_is_better=True)
    assert more.ratios(more.claims[0]) == pytest.approx([1 / 3, 1 / 4, 1 / 2])


def test_tables_survive_json() -> None:
    content = json.loads(json.dumps(to_json([timed_table()])))
    assert content[0]["claims"][0]["ratio"] == 3.0
    assert from_json(content) == [timed_table()]


def test_the_document_says_what_was_met_and_that_there_was_no_gpu() -> None:
    tables = to_json([timed_table(), timed_table(more_is_better=True)])
    machine = {
        "cpu": "A CPU",
        "cores": 2,
        "memory_gib": 8,
        "instructions": [],
        "gpu": None,
        "python": "3.11",
        "versions": {"torch": "2.13"},
    }
    found = {"date": "2026-01-02", "quick": False, "cases": "made cases", "machine": machine, "parts": {"step": tables}}
    text = markdown(found)
    assert "| them | **3** | 2 – 4 | ≥ 3: met |" in text
    assert "≥ 3: NOT MET" in text
    assert "| theirs | 8 | 3 – 8 | 1.5 |" in text
    assert "The GPU part has not been run" in text
    assert "The GPU part has not been run" not in markdown(found | {"machine": machine | {"gpu": "H100"}})
    assert "× 3 against them (≥ 3: met)" in summary(tables)


def test_a_contender_that_fails_in_its_process_says_why() -> None:
    with pytest.raises(RuntimeError, match="none such"):
        isolated(
            "one_step",
            {
                "network": "none such",
                "precision": "fp32",
                "channels_last": False,
                "keep_memory": False,
                "compiled": False,
                "batch": 1,
                "patch": 32,
            },
        )


def test_the_peers_get_the_tested_torch(tmp_path: Path) -> None:
    held = requirements(tmp_path)
    assert set(PEERS) < set(held)
    assert any(r.startswith("torch==") and "+" not in r for r in held)
    (tmp_path / "constraints.txt").write_text("torch==2.13.0\n")
    assert requirements(tmp_path)[-4:] == [
        "--constraint",
        str(tmp_path / "constraints.txt"),
        "--editable",
        str(tmp_path),
    ]
