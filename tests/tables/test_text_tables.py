"""The paper's tables as a regression fixture, and the words for what is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brats_ablate.report.figures import payload
from brats_ablate.tables import writers
from brats_ablate.tables.build import ResultsStore, TableResult, build
from brats_ablate.tables.formatting import learning_rate, signed
from brats_ablate.tables.run_summary import load_runs
from brats_ablate.tables.spec import TableSpec, load_table_spec
from brats_ablate.tables.text_tables import Sheet, differences_sheet, scores_sheet, sheets_of

Write = Callable[..., Any]
EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def _build(study: TableSpec, runs: Path) -> TableResult:
    gathered = load_runs(runs, [c.experiment for c in study.columns if c.experiment])
    sources = ResultsStore(gathered, runs / "evaluation", {})
    return build([study], sources, folds=5, resamples=200, seed=0)[0]


def _column_texts(sheet: Sheet, title: str) -> tuple[list[str], list[str]]:
    at = sheet.header.index(title)
    return [row[at] for row in sheet.rows], [row[at + 1] for row in sheet.rows]


@pytest.mark.parametrize("name", ["table1", "table2", "table3"])
def test_fed_with_the_papers_folds_a_table_comes_out_as_printed(tmp_path: Path, write_run: Write, name: str) -> None:
    study = load_table_spec(EXPERIMENTS / f"{name}.yaml")
    for column in study.columns:
        assert column.paper is not None
        for fold, dice in enumerate(column.paper.folds):
            write_run(tmp_path, column.experiment, fold, [dice - 0.01, dice, dice - 0.02])
    result = _build(study, tmp_path)
    sheet = scores_sheet(result)
    for column in study.columns:
        ours, paper = _column_texts(sheet, column.title)
        assert column.paper is not None
        printed = [f"{value:.4f}" for value in column.paper.folds]
        assert ours[:5] == paper[:5] == printed
        if column.paper.is_misprint:
            assert ours[5] == f"{column.paper.recomputed:.4f}"
            assert paper[5] == f"{column.paper.mean:.4f}!"
            assert any(column.title in note and "the paper prints" in note for note in sheet.notes)
        else:
            assert ours[5] == paper[5] == f"{column.paper.mean:.4f}"


def test_the_three_misprints_are_told_with_what_the_folds_give() -> None:
    notes = [
        note
        for name in ("table1", "table2", "table3")
        for note in scores_sheet(_build(load_table_spec(EXPERIMENTS / f"{name}.yaml"), Path("/nowhere"))).notes
        if note.startswith("!")
    ]
    assert [note.split(":")[0] for note in notes] == ["! Focal", "! Deeper", "! One-hot"]
    assert "prints 0.9133, the mean of its folds is 0.91134" in notes[0]
    assert "prints 0.9152, the mean of its folds is 0.91526" in notes[1]
    assert "prints 0.9050, the mean of its folds is 0.91506" in notes[2]


def test_what_the_papers_own_folds_say() -> None:
    """By the corrected test only DS and UNETR stand out, each before correction over the columns."""
    p = {}
    for name in ("table1", "table2"):
        result = _build(load_table_spec(EXPERIMENTS / f"{name}.yaml"), Path("/nowhere"))
        p |= {c.column.title: value for c, value in zip(result.columns, result.paper_p_folds, strict=True)}
    assert {title for title, value in p.items() if value <= 0.05} == {"DS", "UNETR"}


def test_table4_is_read_from_evaluation_rows(tmp_path: Path) -> None:
    study = load_table_spec(EXPERIMENTS / "table4.yaml")
    folder = tmp_path / "evaluation"
    folder.mkdir()
    for column, dice in zip(study.columns, (0.5, 0.75), strict=True):
        rows = [f"c{i},{region},dice,{dice}" for i in range(10) for region in ("WT", "TC", "ET")]
        (folder / f"{column.evaluation}.csv").write_text("\n".join(["case,region,metric,value", *rows]) + "\n")
    sources = ResultsStore({}, folder, {f"c{i}": i % 5 for i in range(10)})
    result = build([study], sources, folds=5, resamples=200, seed=0)[0]
    assert _column_texts(scores_sheet(result), "with")[0][:6] == ["0.7500"] * 6
    assert result.comparisons[0].difference == pytest.approx(0.25)


def test_an_evaluation_is_not_mistaken_for_the_runs_of_the_same_name(tmp_path: Path, write_experiment: Write) -> None:
    write_experiment(tmp_path / "runs", "ds", [0.8] * 5)
    folder = tmp_path / "evaluation"
    folder.mkdir()
    rows = [f"c{i},{region},dice,0.5" for i in range(10) for region in ("WT", "TC", "ET")]
    (folder / "ds.csv").write_text("\n".join(["case,region,metric,value", *rows]) + "\n")
    studies = [
        load_table_spec(EXPERIMENTS / f"{name}.yaml").with_all(["ds"], ["ds"]) for name in ("evaluated", "trained")
    ]
    sources = ResultsStore(load_runs(tmp_path / "runs", ["ds"]), folder, {f"c{i}": i % 5 for i in range(10)})
    results = build(studies, sources, folds=5, resamples=200, seed=0)
    assert [result.columns[0].scores.best_lr.mean for result in results] == pytest.approx([0.5, 0.8])
    drawn = payload(results, {})
    keys = [table["columns"][0]["key"] for table in drawn["tables"]]
    assert keys == ["ds, evaluated", "ds"]
    evaluated = drawn["cases"]["dice"][keys[0]]
    assert {value for region in evaluated for value in region if value is not None} == {5000}


def test_missing_and_unfinished_folds_are_named(tmp_path: Path, write_run: Write) -> None:
    study = load_table_spec(EXPERIMENTS / "demo.yaml")
    for fold in range(5):
        write_run(tmp_path, "baseline", fold, [0.8])
    write_run(tmp_path, "ds", 0, [0.9])
    write_run(tmp_path, "ds", 1, [0.9], state="running", epochs=9)
    result = _build(study, tmp_path)
    sheet = scores_sheet(result)
    at = sheet.header.index("DS")
    folds, mean = [row[at] for row in sheet.rows[:5]], sheet.rows[5][at]
    assert folds == ["0.9000", "unfinished", "missing", "missing", "missing"]
    assert mean == "– (1 of 5 folds)"
    assert "DS, fold 1: running, epoch 1 of 9." in sheet.notes
    assert "DS, fold 2: no run." in sheet.notes
    assert "not decided: the runs have no per-case rows" in differences_sheet(result).rows[0]


def test_runs_of_different_settings_are_told(tmp_path: Path, write_run: Write) -> None:
    study = load_table_spec(EXPERIMENTS / "demo.yaml")
    for fold, epochs in enumerate((10, 20)):
        write_run(tmp_path, "ds", fold, [0.9], manifest={"identity": {"trainer.epochs": epochs, "fold": fold}})
    assert (
        "DS: its runs differ in trainer.epochs (10, 20); they are not one experiment."
        in scores_sheet(_build(study, tmp_path)).notes
    )


def test_different_data_are_told(tmp_path: Path, write_run: Write) -> None:
    study = load_table_spec(EXPERIMENTS / "demo.yaml")
    write_run(tmp_path, "baseline", 0, [0.9], manifest={"data_fingerprint": "a"})
    write_run(tmp_path, "ds", 0, [0.9], manifest={"data_fingerprint": "b"})
    assert any("fingerprints differ" in note for note in scores_sheet(_build(study, tmp_path)).notes)


def test_learning_rates_are_shown_only_where_there_are_several(tmp_path: Path, write_run: Write) -> None:
    study = load_table_spec(EXPERIMENTS / "demo.yaml")
    write_run(tmp_path, "ds", 0, [0.9], lr=7e-4)
    assert scores_sheet(_build(study, tmp_path)).rows[0][2] == "0.9000"
    write_run(tmp_path, "ds", 0, [0.91], lr=5e-4)
    assert scores_sheet(_build(study, tmp_path)).rows[0][2] == "0.9100 (5e-4)"


def test_the_best_of_a_row_is_bold_and_ties_both(tmp_path: Path, write_run: Write) -> None:
    study = load_table_spec(EXPERIMENTS / "demo.yaml")
    for fold, (a, b) in enumerate([(0.8, 0.9), (0.9, 0.8), (0.85, 0.85)]):
        write_run(tmp_path, "baseline", fold, [a])
        write_run(tmp_path, "ds", fold, [b])
    assert scores_sheet(_build(study, tmp_path)).bold == {(0, 2), (1, 1), (2, 1), (2, 2)}


def test_every_sheet_has_as_many_cells_as_its_header(tmp_path: Path, write_experiment: Write) -> None:
    study = load_table_spec(EXPERIMENTS / "table2.yaml")
    sizes = {f"case-{fold}-{i:03d}": 100 * i for fold in range(5) for i in range(20)}
    for column in study.columns[:3]:
        write_experiment(tmp_path, column.experiment, [0.9, 0.91, 0.92, 0.93, 0.94], et_voxels=sizes)
    sheets = sheets_of(_build(study, tmp_path))
    assert [s.title for s in sheets[1:]] == ["Differences", "Scatter and choices", "By kind of case", "Cost"]
    for sheet in sheets:
        assert {len(row) for row in sheet.rows} == {len(sheet.header)}


def test_numbers_in_text() -> None:
    assert [signed(v) for v in (0.00194, -0.0016, 0.00001, None)] == ["+0.0019", "-0.0016", "0.0000", "–"]
    assert [learning_rate(v) for v in (7e-4, 1e-3, 2.5e-5)] == ["7e-4", "1e-3", "2.5e-5"]


_SHEET = Sheet(
    "t", "A & B", ("", "a_b", "paper", "c|d"), (("Fold 0", "0.9 (7e-4)", "0.8", "–"), ("Mean", "0.9", "0.8!", "x")),
    notes=("50 %",), bold=frozenset({(0, 1)}), rules=frozenset({1}),
)  # fmt: skip


def test_markdown_escapes_and_marks_the_best() -> None:
    lines = writers.markdown([_SHEET]).splitlines()
    assert lines[0] == "# A & B"
    assert lines[2] == "|        |            a_b | paper | c\\|d |"
    assert lines[4] == "| Fold 0 | **0.9 (7e-4)** |   0.8 |    – |"
    assert lines[-1] == "- 50 %"


def test_csv_splits_value_and_learning_rate() -> None:
    assert writers.csv_text(_SHEET).splitlines() == [
        ",a_b,a_b lr,a_b paper,c|d",
        "Fold 0,0.9,7e-4,0.8,–",
        "Mean,0.9,,0.8!,x",
    ]


def test_latex_has_booktabs_rules_bold_and_escapes() -> None:
    text = writers.latex(_SHEET, extra_rows=[("Δ", "1", "2", "3")])
    for part in (
        r"\caption{A \& B}", r"\label{tab:t}", r"a\_b", r"\textbf{0.9 (7e-4)}", r"\toprule", r"\bottomrule", r"50 \%",
        r"$\Delta$ & 1",
    ):  # fmt: skip
        assert part in text
    assert text.count(r"\midrule") == 3
