from __future__ import annotations

import json
from pathlib import Path

import pytest

from environment import PEERS, requirements
from measuring import Comparison, Row, Table, from_json, interleave, run_isolated, to_json
from report import RESULTS, markdown, summary


def timed_table(*, more_is_better: bool = False) -> Table:
    rows = [Row("ours", [1.0, 2.0, 4.0]), Row("peer", [3.0, 8.0, 8.0], {"memory GiB": "1.5"})]
    return Table("A step", "s", rows, [Comparison("another library", "ours", "peer")], more_is_better)


def test_candidates_are_interleaved_in_reversed_order() -> None:
    calls: list[str] = []

    def candidate(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    values = interleave({name: lambda name=name: candidate(name) for name in "abc"}, rounds=2, warm_up=False)
    assert calls == ["a", "b", "c", "c", "b", "a"]
    assert values == {"a": [1.0, 6.0], "b": [2.0, 5.0], "c": [3.0, 4.0]}


def test_warm_up_is_not_counted() -> None:
    values = iter([9.0, 1.0])
    assert interleave({"a": lambda: next(values)}, rounds=1) == {"a": [1.0]}


def test_ratios_are_taken_round_by_round() -> None:
    table = timed_table()
    assert table.ratios(table.comparisons[0]) == [3.0, 4.0, 2.0]
    more = timed_table(more_is_better=True)
    assert more.ratios(more.comparisons[0]) == pytest.approx([1 / 3, 1 / 4, 1 / 2])


def test_tables_survive_json() -> None:
    content = json.loads(json.dumps(to_json([timed_table()])))
    assert content[0]["comparisons"][0]["ratio"] == 3.0
    assert from_json(content) == [timed_table()]


def test_document_has_ratios_and_states_that_there_was_no_gpu() -> None:
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
    results = {"date": "2026-01-02", "quick": False, "cases": "cases", "machine": machine, "parts": {"step": tables}}
    text = markdown(results)
    assert "| another library | **3** | 2 – 4 |" in text
    assert "| another library | **0.333** | 0.25 – 0.5 |" in text
    assert "| peer | 8 | 3 – 8 | 1.5 |" in text
    assert "- A CPU, 2 cores (no AVX), 8 GiB, no GPU; Python 3.11\n" in text
    for card in (json.loads(file.read_text())["card"] for file in RESULTS.glob("gpu-*.json")):
        assert f"## {card}\n" in text
    assert "| step ours compiled | step_ms " in text
    assert "× 3 compared with another library" in summary(tables)


@pytest.mark.slow
def test_failure_in_the_subprocess_is_reported() -> None:
    with pytest.raises(RuntimeError, match="none such"):
        run_isolated(
            "one_step",
            {
                "network": "none such",
                "precision": "fp32",
                "channels_last": False,
                "keep_memory": False,
                "batch": 1,
                "patch": 32,
            },
        )


def test_peers_are_installed_with_the_tested_torch(tmp_path: Path) -> None:
    arguments = requirements(tmp_path)
    assert set(PEERS) < set(arguments)
    assert any(r.startswith("torch==") and "+" not in r for r in arguments)
    (tmp_path / "constraints.txt").write_text("torch==2.13.0\n")
    assert requirements(tmp_path)[-4:] == [
        "--constraint",
        str(tmp_path / "constraints.txt"),
        "--editable",
        str(tmp_path),
    ]
