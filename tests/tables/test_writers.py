"""One table in every format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from brats_ablate.tables import writers
from brats_ablate.tables.table import Absent, Detail, Header, Number, Table, Words, dice, headers, learning_rate

_TABLE = Table(
    "t",
    "A & B",
    (Header("", ""), Header("a_b", "a_b"), Header("paper", "a_b paper", is_paper=True), Header("c|d", "c|d")),
    (
        (
            Words("Fold 0"),
            Number(0.91234, dice, Detail("lr", 7e-4, learning_rate), mark="best"),
            Number(0.8, dice),
            Absent(),
        ),
        (Words("Mean"), Number(0.9, dice), Number(0.8, "{:.4f}!".format), Words("x")),
    ),
    notes=("50 %",),
    rules=frozenset({1}),
)


def test_markdown_escapes_and_marks_the_best() -> None:
    lines = writers.markdown([_TABLE]).splitlines()
    assert lines[0] == "# A & B"
    assert lines[2] == "|        |               a_b |   paper | c\\|d |"
    assert lines[4] == "| Fold 0 | **0.9123 (7e-4)** |  0.8000 |    – |"
    assert lines[5].split() == ["|", "Mean", "|", "0.9000", "|", "0.8000!", "|", "x", "|"]
    assert lines[-1] == "- 50 %"


def test_csv_has_the_numbers(tmp_path: Path) -> None:
    writers.write_tables([_TABLE], tmp_path)
    assert (tmp_path / "t.csv").read_text().splitlines() == [
        ",a_b,a_b lr,a_b paper,c|d",
        "Fold 0,0.91234,0.0007,0.8,",
        "Mean,0.9,,0.8,x",
    ]
    assert pd.read_csv(tmp_path / "t.csv", index_col=0)["a_b"].tolist() == [0.91234, 0.9]
    assert {file.name for file in tmp_path.iterdir()} == {"t.md", "t.csv", "t.tex"}


def test_a_further_table_that_has_no_rows_any_more_is_removed(tmp_path: Path) -> None:
    further = replace(_TABLE, name="t_differences", title="Differences")
    writers.write_tables([_TABLE, further], tmp_path)
    assert (tmp_path / "t_differences.csv").exists()
    writers.write_tables([_TABLE, replace(further, rows=())], tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"t.md", "t.csv", "t.tex"}
    assert "Differences" not in (tmp_path / "t.md").read_text()


def test_latex_has_booktabs_rules_bold_and_escapes() -> None:
    text = writers.latex(_TABLE, extra_rows=[(Words("Δ"), Words("1"), Words("2"), Words("3"))])
    for part in (
        r"\caption{A \& B}", r"\label{tab:t}", r"a\_b", r"\textbf{0.9123 (7e-4)}", r"\toprule", r"\bottomrule",
        r"50 \%", r"$\Delta$ & 1",
    ):  # fmt: skip
        assert part in text
    assert text.count(r"\midrule") == 3


def test_a_wide_latex_table_continues_below_and_keeps_the_paper_next_to_ours() -> None:
    heads = [Header("", "")]
    for k in range(6):
        heads += [Header(f"variant {k}", f"variant {k}"), Header("paper", f"variant {k} paper", is_paper=True)]
    row = (Words("Mean"), *(Number(0.1 * k, dice) for k in range(12)))
    text = writers.latex(Table("w", "W", tuple(heads), (row,)))
    panels = [line.strip() for line in text.splitlines() if "variant" in line]
    assert panels == [rf"& variant {k} & paper & variant {k + 1} & paper & variant {k + 2} & paper \\" for k in (0, 3)]
    assert [line.strip() for line in text.splitlines() if "Mean" in line] == [
        r"Mean & 0.0000 & 0.1000 & 0.2000 & 0.3000 & 0.4000 & 0.5000 \\",
        r"Mean & 0.6000 & 0.7000 & 0.8000 & 0.9000 & 1.0000 & 1.1000 \\",
    ]
    assert text.count(r"\caption") == 1


def test_a_table_without_rows_has_its_headers(tmp_path: Path) -> None:
    empty = Table("e", "E", headers("", "a"), ())
    writers.write_tables([empty], tmp_path)
    assert (tmp_path / "e.csv").read_text() == ",a\n"
    assert "| a |" in writers.markdown([empty])
