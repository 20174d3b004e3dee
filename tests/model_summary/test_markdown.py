"""The report: its table and CSV say what the descriptions hold, and timings only where they were taken."""

from __future__ import annotations

import csv
from dataclasses import replace

from brats_ablate.model_summary.counts import Counts
from brats_ablate.model_summary.markdown import Description, Provenance, csv_text, markdown, table
from brats_ablate.model_summary.timings import Timing

GATED = Description(
    name="attention",
    question="Does a gate help?",
    paper="Table 2",
    baseline="baseline",
    changes=("model.gate=AttentionGate",),
    counts=Counts(31_382_280, 973_700_000_000, 3 * 2**30, ()),
    diagram="the drawing",
    svg="<svg/>",
    timing=Timing(0.5, 2.0, 1.25, 1.1),
)


def test_table_row() -> None:
    assert table([GATED]).splitlines()[2] == (
        "| attention | baseline | `model.gate=AttentionGate` | 31.38 | 974 | 3.00 | 1.25 | 1.10 |"
    )


def test_table_without_timings_has_no_such_columns() -> None:
    head, _, row = table([replace(GATED, timing=None)]).splitlines()
    assert "×" not in head
    assert row.endswith("| 3.00 |")


def test_csv_reads_back() -> None:
    rows = list(csv.DictReader(csv_text([GATED, replace(GATED, name="plain", timing=None)]).splitlines()))
    assert [r["experiment"] for r in rows] == ["attention", "plain"]
    assert float(rows[0]["step_ratio"]) == 1.1
    assert rows[1]["step_ratio"] == ""
    assert int(rows[0]["parameters"]) == GATED.counts.parameters


def test_markdown_says_how_it_was_made() -> None:
    text = markdown([GATED], Provenance("the command", "patch of 8 voxels", "Timed on a thing."))
    for part in (
        "`the command`",
        "patch of 8 voxels",
        "Timed on a thing.",
        "the drawing",
        "Does a gate help?",
        "(images/attention.svg)",
    ):
        assert part in text
    assert "Timed" not in markdown([GATED], Provenance("the command", "patch of 8 voxels", None))
