"""The table for a paper, from runs and evaluations."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from schemes import REGIONS
from table_results import result_of

from brats_ablate.tables.build import TableResult
from brats_ablate.tables.comparison import BETTER
from brats_ablate.tables.paper_table import paper_latex, paper_table, write_paper_table
from brats_ablate.tables.results import evaluated_hd95
from brats_ablate.tables.spec import Column, TableSpec
from brats_ablate.tables.table import Distribution

Write = Callable[..., None]
Values = Mapping[str, np.ndarray]
"""Case -> (region, metric): Dice and HD95."""


def write_evaluation(folder: Path, name: str, values: Values, policy: str = "HD95 as medpy") -> None:
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["case", "region", "metric", "value"])
        for case, of_region in values.items():
            for region, (dice, hd95) in zip(REGIONS, of_region.tolist(), strict=True):
                rows.writerows([[case, region, "dice", dice], [case, region, "hd95", hd95]])
    (folder / f"{name}.json").write_text(json.dumps({"policy": policy}))


def drawn(cases: list[str], shift: float) -> Values:
    """Draw the same values for every shift; a shift raises Dice and lowers HD95, in some cases more than in others."""
    rng, of_case = np.random.default_rng(0), {}
    for case in cases:
        dice, hd95, more = rng.uniform(0.5, 0.9, 3), rng.gamma(1, 20, 3), rng.uniform(0.5, 1.5)
        of_case[case] = np.column_stack([dice + shift * more, hd95 * (1 - shift * more)])
    return of_case


def tabulated(tmp_path: Path, *columns: Column, folds: Mapping[str, int], baseline: str = "a") -> TableResult:
    spec = TableSpec("t", "T", None, baseline, columns)
    return result_of(tmp_path, spec, resamples=500, fold_of=folds)


def evaluation(name: str) -> Column:
    return Column(name, None, name, None)


FOLDS = {f"c{i}": i % 5 for i in range(20)}


def test_numbers_are_those_of_the_common_cases_of_the_folds(tmp_path: Path) -> None:
    all_cases = [*FOLDS, "t0"]
    values = {"a": drawn(all_cases, 0), "b": drawn(list(FOLDS)[:15], 0.05), "absent": {}}
    for name in ("a", "b"):
        write_evaluation(tmp_path / "evaluation", name, values[name])
    result = tabulated(tmp_path, *map(evaluation, values), folds=FOLDS)
    assert [c.verdict for c in result.comparisons][:1] == [BETTER]
    table = paper_table(result)
    assert [row[0].text for row in table.rows] == ["a", "b"]
    frame = table.frame().set_index(table.headers[0].name)
    common = list(FOLDS)[:15]
    for name in ("a", "b"):
        stacked = np.stack([values[name][case] for case in common])  # (case, region, metric)
        for m, metric in enumerate(("Dice", "HD95")):
            of_region = dict(zip((*REGIONS, "mean"), (*stacked[..., m].T, stacked[..., m].mean(axis=1)), strict=True))
            for region, x in of_region.items():
                row, head = frame.loc[name], f"{metric} {region}"
                assert row[head] == pytest.approx(np.mean(x))
                assert row[f"{head} SD"] == pytest.approx(np.std(x, ddof=1))
                q1, median, q3 = np.percentile(x, (25, 50, 75))
                assert [row[f"{head} {k}"] for k in ("q1", "median", "q3")] == pytest.approx([q1, median, q3])
    # b is the better one in each column: higher Dice, lower HD95. Only the mean Dice is tested.
    marks = [[cell.mark for cell in row[1:]] for row in table.rows]
    assert marks == [[""] * 8, ["best"] * 8]
    assert [cell.symbol for cell in table.rows[1][1:] if isinstance(cell, Distribution)] == ["", "", "", "†", *[""] * 4]
    notes = " ".join(table.notes)
    assert "Dice and HD95: over the 15 cases that all variants have (a 20, b 15)." in notes
    assert "† better, ‡ worse than a in mean Dice" in notes
    assert "Metrics: HD95 as medpy." in notes
    assert "highest validated epoch" not in notes


def test_variants_without_a_common_case_are_each_over_their_own(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "evaluation", "a", drawn(list(FOLDS), 0))
    write_evaluation(tmp_path / "evaluation", "b", drawn(["t0", "t1"], 0), policy="HD95 as monai")
    table = paper_table(tabulated(tmp_path, evaluation("a"), evaluation("b"), folds=FOLDS))
    assert "Dice and HD95: no case is in all variants; each over its own cases (a 20, b 2)." in table.notes
    assert {"Metrics of a: HD95 as medpy.", "Metrics of b: HD95 as monai."} <= set(table.notes)
    assert not any(cell.mark for row in table.rows for cell in row)


def test_hd95_of_experiments_is_of_their_evaluation_or_the_command_is_named(
    tmp_path: Path, write_experiment: Write
) -> None:
    for name, shift in (("baseline", 0.0), ("ds", 0.05)):
        write_experiment(tmp_path, name, [0.8, 0.81, 0.82, 0.83, 0.84], shift=shift)
    values = drawn([f"case-{fold}-{i:03d}" for fold in range(5) for i in range(20)], 0)
    write_evaluation(tmp_path / "evaluation", "ds", values)
    columns = (Column("U-Net", "baseline", None, None), Column("DS", "ds", None, None))
    result = tabulated(tmp_path, *columns, folds={}, baseline="baseline")
    table = paper_table(result)
    frame = table.frame().set_index("")
    assert frame.loc["DS", "Dice mean"] == pytest.approx(result.columns[1].case_scores[list(REGIONS)].to_numpy().mean())
    assert frame.loc["DS", "HD95 WT"] == pytest.approx(np.mean([v[0, 1] for v in values.values()]))
    assert frame.loc["U-Net", "HD95 WT"] is None
    notes = " ".join(table.notes)
    assert "No HD95 of U-Net: run +experiment=<name> job=predict, then +experiment=<name> job=evaluate." in notes
    assert "HD95 of DS: of the evaluated predictions (networks: unknown;" in notes
    assert "highest validated epoch" in notes

    write_paper_table(result, tmp_path / "out")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"t_paper.md", "t_paper.csv", "t_paper.tex"}
    assert pd.read_csv(tmp_path / "out" / "t_paper.csv", index_col=0).loc["DS", "HD95 WT"] > 0


def test_the_marks_say_that_they_are_of_other_epochs_and_of_a_small_sample(tmp_path: Path, write_run: Write) -> None:
    draw = np.random.default_rng(0)
    for name, dice in (("baseline", 0.5), ("ds", 0.8)):
        for fold in range(3):
            cases = {f"c{fold}-{i}": tuple(draw.normal(dice, 0.03, 3)) for i in range(4)}
            write_run(tmp_path, name, fold, [dice, dice - 0.1], cases=cases)
    columns = (Column("U-Net", "baseline", None, None), Column("DS", "ds", None, None))
    result = tabulated(tmp_path, *columns, folds={}, baseline="baseline")
    (compared,) = result.comparisons
    assert (compared.verdict, compared.cases) == (BETTER, 12)
    notes = paper_table(result).notes
    assert any("in mean Dice of the last epochs, not the best ones shown;" in note for note in notes)
    assert "DS: better (3 of 5 folds; small sample (n = 12))." in notes


def visible(text: str) -> str:
    """The text without what is invisible or has no width, bold digits as plain ones."""
    text = re.sub(r"\\phantom\{[\d.]*\}\\llap\{\\textbf\{([\d.]*)\}\}", r"\1", text)
    return re.sub(r"\\rlap\{.*?\}\}\$\}", "", text)


def test_latex_cells_of_a_column_have_one_width_and_two_panels(tmp_path: Path) -> None:
    values = {"a": drawn(list(FOLDS), 0), "b_2": drawn(list(FOLDS), 0.05)}
    values["b_2"] = {case: of_region * [1, 0.02] for case, of_region in values["b_2"].items()}  # HD95 below 10 mm
    for name in values:
        write_evaluation(tmp_path / "evaluation", name, values[name])
    table = paper_table(tabulated(tmp_path, *map(evaluation, values), folds=FOLDS))
    text = paper_latex(table)
    assert text.count(r"\begin{table}") == 1
    assert r"\emph{HD95 (mm)}" in text
    assert r"$\pm$" in text
    assert r"b\_2 &" in text
    lines = [
        line.strip().removesuffix(r" \\").split(" & ") for line in text.splitlines() if "[" in line or "pm" in line
    ]
    cells = [[cell for cell in line if "pm" in cell or "[" in cell] for line in lines]
    upper, lower = cells[0::2], cells[1::2]
    for half in (upper, lower):
        for column in zip(*half[2:4], strict=True):  # HD95 of both variants
            widths = [len(re.sub(r"\\phantom\{(0*)\}", r"\1", visible(cell))) for cell in column]
            assert widths[0] == widths[1]
    assert any(r"\phantom{0" in cell for line in cells for cell in line)


def test_many_variants_are_two_tables(tmp_path: Path) -> None:
    names = [f"v{i:02d}" for i in range(11)]
    for name in names:
        write_evaluation(tmp_path / "evaluation", name, drawn(list(FOLDS), 0))
    table = paper_table(tabulated(tmp_path, *map(evaluation, names), folds=FOLDS, baseline="v00"))
    text = paper_latex(table)
    assert re.findall(r"\\label\{(.*?)\}", text) == ["tab:t_paper_dice", "tab:t_paper_hd95"]
    assert text.count("Mean $\\pm$ SD") == 1


def test_an_evaluation_without_hd95_has_none(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("case,region,metric,value\nc0,WT,dice,0.5\n")
    assert evaluated_hd95(tmp_path / "a.csv", REGIONS).empty
    (tmp_path / "b.csv").write_text("case,region,metric,value\nc0,WT,hd95,0.5\n")
    assert evaluated_hd95(tmp_path / "b.csv", REGIONS).empty
