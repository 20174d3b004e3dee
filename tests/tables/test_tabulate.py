"""The paper's tables as a regression fixture, and the text of missing values."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from schemes import BRATS2021, REGIONS
from scipy import stats
from table_results import result_of, write_values

from brats_ablate.report.figures import figure_data
from brats_ablate.tables.build import ResultsStore, build
from brats_ablate.tables.differences import comparisons_dict, differences_table, verdict_numbers, verdict_sentence
from brats_ablate.tables.evaluated_tables import outside_folds_table
from brats_ablate.tables.paper_table import paper_table
from brats_ablate.tables.scores import load_runs
from brats_ablate.tables.spec import Column, TableSpec, load_table_spec
from brats_ablate.tables.table import Table, known
from brats_ablate.tables.tabulate import interval_rows, scores_table, tabulate

Write = Callable[..., Any]
EXPERIMENTS = Path(__file__).parents[2] / "experiments"
NOWHERE = Path("/nowhere")
DEMO = Path(__file__).parents[1] / "fixtures" / "experiments" / "demo.yaml"


def _column_texts(table: Table, title: str) -> tuple[list[str], list[str]]:
    at = table.header_texts.index(title)
    return [row[at] for row in table.texts], [row[at + 1] for row in table.texts]


@pytest.mark.parametrize("name", ["table1", "table2", "table3"])
def test_fed_with_the_papers_folds_a_table_comes_out_as_printed(tmp_path: Path, write_run: Write, name: str) -> None:
    spec = load_table_spec(EXPERIMENTS / f"{name}.yaml")
    for column in spec.columns:
        for fold, dice in enumerate(column.paper.folds):
            write_run(tmp_path, column.experiment, fold, [dice - 0.01, dice, dice - 0.02])
    result = result_of(tmp_path, spec)
    table = scores_table(result)
    for column in spec.columns:
        ours, paper = _column_texts(table, column.title)
        printed = [f"{value:.4f}" for value in column.paper.folds]
        assert ours[:5] == paper[:5] == printed
        if column.paper.is_misprint:
            assert ours[5] == f"{column.paper.recomputed:.4f}"
            assert paper[5] == f"{column.paper.mean:.4f}!"
            assert any(column.title in note and "the paper prints" in note for note in table.notes)
        else:
            assert ours[5] == paper[5] == f"{column.paper.mean:.4f}"


def test_the_three_misprints_have_notes_with_the_mean_of_the_folds() -> None:
    notes = [
        note
        for name in ("table1", "table2", "table3")
        for note in scores_table(result_of(NOWHERE, load_table_spec(EXPERIMENTS / f"{name}.yaml"))).notes
        if note.startswith("!")
    ]
    assert [note.split(":")[0] for note in notes] == ["! Focal", "! Deeper", "! One-hot"]
    assert "prints 0.9133, the mean of its folds is 0.91134" in notes[0]
    assert "prints 0.9152, the mean of its folds is 0.91526" in notes[1]
    assert "prints 0.9050, the mean of its folds is 0.91506" in notes[2]


def test_the_one_published_fold_of_the_released_recipe_stands_beside_ours(tmp_path: Path, write_run: Write) -> None:
    spec = load_table_spec(EXPERIMENTS / "as_released.yaml")
    for fold in range(5):
        write_run(tmp_path, "as_released", fold, [0.89 + fold / 1000])
    table = scores_table(result_of(tmp_path, spec))
    ours, published = _column_texts(table, "Whole recipe as released")
    assert ours[:6] == ["0.8900", "0.8910", "0.8920", "0.8930", "0.8940", "0.8920"]
    assert published[:6] == ["0.8969", "", "", "", "", ""]
    assert any("WT .9288, TC .9069, ET .8550" in note for note in table.notes)
    # The mean of the regions is the figure itself.
    assert pytest.approx(0.8969, abs=5e-5) == (0.9288 + 0.9069 + 0.8550) / 3


def test_significance_of_the_papers_own_folds() -> None:
    """Adjusted over the columns of its table, UNETR alone is significant."""
    p = {}
    for name in ("table1", "table2"):
        result = result_of(NOWHERE, load_table_spec(EXPERIMENTS / f"{name}.yaml"))
        p |= {result.columns[column].column.title: value for column, value in result.paper_p.items()}
    assert {title for title, value in p.items() if value <= 0.05} == {"UNETR"}


def test_with_the_probable_fold_of_focal_ds_is_significant_too() -> None:
    """Its fold 1 as printed, .9026, enlarges the variance that all columns of table 2 have in common."""
    spec = load_table_spec(EXPERIMENTS / "table2.yaml")
    corrected = [
        replace(c, paper=replace(c.paper, folds=(0.9094, 0.9126, 0.9146, 0.9229, 0.9072)))
        if c.paper and c.title == "Focal"
        else c
        for c in spec.columns
    ]
    result = result_of(NOWHERE, replace(spec, columns=tuple(corrected)))
    significant = [result.columns[i].column.title for i, p in result.paper_p.items() if p <= 0.05]
    assert significant == ["DS"]


def test_only_the_table_of_validation_scores_has_the_papers_figures() -> None:
    """Table 4's "without" equals Table 3's D+C+O in all folds, so it is no score of an ensemble."""
    table3, table4, ensemble = (
        load_table_spec(EXPERIMENTS / f"{n}.yaml") for n in ("table3", "table4", "table4_ensemble")
    )
    without, column = table4.columns[0], table3.columns[-1]
    assert (without.paper.folds, without.paper.mean) == (column.paper.folds, column.paper.mean)
    assert [c.paper for c in ensemble.columns] == [None, None]
    assert not {c.key for c in table4.columns} & {c.key for c in ensemble.columns}


def test_table4_is_read_from_evaluation_rows(tmp_path: Path) -> None:
    spec = load_table_spec(EXPERIMENTS / "table4.yaml")
    for column, dice in zip(spec.columns, (0.5, 0.75), strict=True):
        rows = [f"c{i},{region},dice,{dice}" for i in range(10) for region in ("WT", "TC", "ET")]
        write_values(tmp_path / "evaluation" / f"{column.evaluation}.csv", rows)
    result = result_of(tmp_path, spec, fold_of={f"c{i}": i % 5 for i in range(10)})
    assert _column_texts(scores_table(result), "with")[0][:6] == ["0.7500"] * 6
    assert result.comparisons[0].difference == pytest.approx(0.25)
    assert result.comparisons[0].reason == "the difference does not vary; these trained networks; small sample (n = 10)"
    assert any("as these trained networks" in note for note in differences_table(result).notes)


def test_a_column_with_the_easy_cases_alone_is_not_the_best(tmp_path: Path) -> None:
    spec = load_table_spec(EXPERIMENTS / "table4.yaml")
    folds = {f"c{i}": i % 5 for i in range(20)}
    for column, first in zip(spec.columns, (0, 6), strict=True):
        rows = [f"c{i},{region},dice,{0.5 + i / 100}" for i in range(first, 20) for region in ("WT", "TC", "ET")]
        write_values(tmp_path / "evaluation" / f"{column.evaluation}.csv", rows)
    result = result_of(tmp_path, spec, fold_of=folds)
    table = scores_table(result)
    assert not any(cell.mark for row in table.rows for cell in row)
    without, with_ = spec.columns[0].title, spec.columns[1].title
    assert f"! {with_}: only 2 of the 4 cases of fold 0 are evaluated." in table.notes
    assert f"! {with_}: only 3 of the 4 cases of fold 4 are evaluated." in table.notes
    assert not any(f"! {without}:" in note for note in table.notes)
    # Nothing is trained: no score is that of a best or of a last epoch.
    assert not any("epoch" in note for note in table.notes)


def test_training_cases_are_left_out_of_an_evaluation_of_an_earlier_version(tmp_path: Path) -> None:
    spec = load_table_spec(EXPERIMENTS / "table4.yaml")
    folds = {f"c{i}": i % 5 for i in range(20)}
    rows = [f"c{i},{region},dice,0.5" for i in range(20) for region in ("WT", "TC", "ET")]
    file = tmp_path / "evaluation" / f"{spec.columns[1].evaluation}.csv"
    write_values(file, rows)
    predicted_by = {"probabilities": {"members": ["ds fold=1 lr=0.0007 seed=0 1.pt"], "cases": "/data/raw"}}
    file.with_suffix(".json").write_text(json.dumps({"predicted_by": predicted_by}))
    result = result_of(tmp_path, spec, fold_of=folds)
    assert set(result.columns[1].case_scores["fold"]) == {1}
    assert any("16 cases (c0 …) were training data of its networks" in note for note in scores_table(result).notes)


def test_hd95_of_training_cases_is_left_out_too(tmp_path: Path, write_experiment: Write) -> None:
    folds = {f"case-{fold}-{i:03d}": fold for fold in range(5) for i in range(4)}
    write_experiment(tmp_path / "runs", "ds", [0.5] * 5, cases_per_fold=4)
    rows = [f"{case},{region},{metric},0.5" for case in folds for region in REGIONS for metric in ("dice", "hd95")]
    (tmp_path / "ds.csv").write_text("\n".join(["case,region,metric,value", *rows]) + "\n")
    predicted_by = {"probabilities": {"members": ["ds fold=1 lr=0.0007 seed=0 1.pt"], "cases": "/data/raw"}}
    (tmp_path / "ds.json").write_text(json.dumps({"predicted_by": predicted_by}))
    spec = TableSpec("t", "T", None, None, (Column("DS", "ds", None, None), Column("Evaluated", None, "ds", None)))
    store = ResultsStore(load_runs(tmp_path / "runs", ["ds"]), tmp_path, folds, BRATS2021)
    (result,) = build([spec], store, folds=5, resamples=200, seed=0)
    for column in result.columns:
        assert {folds[case] for case in column.hd95.index} == {1}


def test_cases_of_no_fold_are_a_test_set_with_an_interval(tmp_path: Path) -> None:
    spec = load_table_spec(EXPERIMENTS / "table4.yaml")
    drawn = np.random.default_rng(0).uniform(0.2, 1, (10, 3))
    for column, name in zip(spec.columns, ("test", "both"), strict=True):
        rows = [f"t{i},{region},dice,{drawn[i, k]}" for i in range(10) for k, region in enumerate(("WT", "TC", "ET"))]
        rows += [f"c{i},{region},dice,0.5" for i in range(5) for region in ("WT", "TC", "ET") if name == "both"]
        write_values(tmp_path / "evaluation" / f"{column.evaluation}.csv", rows)
    result = result_of(tmp_path, spec, resamples=2000, fold_of={f"c{i}": i for i in range(5)})
    frame = outside_folds_table(result).frame()
    assert frame["n"].tolist() == [10, 10]
    assert frame["Dice TC"].tolist() == pytest.approx([drawn[:, 1].mean()] * 2)
    of_case = drawn.mean(axis=1)
    assert frame["mean Dice"].tolist() == pytest.approx([of_case.mean()] * 2)
    assert frame["SD"].tolist() == pytest.approx([of_case.std(ddof=1)] * 2)
    assert pd.isna(frame["cross-validated"].iloc[0])
    assert frame["cross-validated"].iloc[1] == pytest.approx(0.5)
    # Student's t of ten cases; the bootstrap is expanded to be as wide.
    half = stats.t.ppf(0.975, 9) * of_case.std(ddof=1) / np.sqrt(10)
    interval = result.test_sets[0].interval
    assert (interval.low, interval.high) == pytest.approx((of_case.mean() - half, of_case.mean() + half), abs=0.01)
    notes = scores_table(result).notes
    assert "without: 10 cases of no fold; see the test sets." in notes
    assert not any(note.startswith("without, fold") for note in notes)
    assert [table.name for table in tabulate(result)][1] == "table4_test_sets"


def test_an_evaluation_is_not_mistaken_for_the_runs_of_the_same_name(tmp_path: Path, write_experiment: Write) -> None:
    write_experiment(tmp_path, "ds", [0.8] * 5)
    rows = [f"c{i},{region},dice,0.5" for i in range(10) for region in ("WT", "TC", "ET")]
    write_values(tmp_path / "evaluation" / "ds.csv", rows)
    studies = [
        load_table_spec(EXPERIMENTS / f"{name}.yaml").expanded(["ds"], ["ds"]) for name in ("evaluated", "trained")
    ]
    folds = {f"c{i}": i % 5 for i in range(10)}
    store = ResultsStore(load_runs(tmp_path, ["ds"]), tmp_path / "evaluation", folds, BRATS2021)
    results = build(studies, store, folds=5, resamples=200, seed=0)
    assert [result.columns[0].scores.per_fold_lr.mean for result in results] == pytest.approx([0.5, 0.8])
    drawn = figure_data(results, results, {})
    keys = [table["columns"][0]["key"] for table in drawn["tables"]]
    assert keys == ["ds, evaluated", "ds"]
    evaluated = drawn["cases"]["dice"][keys[0]]
    assert {value for region in evaluated for value in region if value is not None} == {5000}


def test_evaluated_columns_have_subgroups_and_no_difference_to_a_trained_one(
    tmp_path: Path, write_experiment: Write
) -> None:
    sizes = {f"case-{fold}-{i:03d}": 100 * i for fold in range(5) for i in range(8)}
    write_experiment(tmp_path, "unet", [0.7] * 5, cases_per_fold=8, et_voxels=sizes)
    draw = np.random.default_rng(0)
    dice = {name: dict(zip(sizes, draw.uniform(size=len(sizes)), strict=True)) for name in ("ours", "theirs")}
    for name, of_case in dice.items():
        rows = [f"{case},{region},dice,{value}" for case, value in of_case.items() for region in ("WT", "TC", "ET")]
        rows += [f"{c},{r},reference_voxels,{v + k}" for c, v in sizes.items() for k, r in ((0, "ET"), (9999, "WT"))]
        rows += [
            f"of no fold,{r},{metric}" for r in ("WT", "TC", "ET") for metric in ("dice,0", "reference_voxels,900")
        ]
        write_values(tmp_path / "evaluation" / f"{name}.csv", rows)
    columns = (
        Column("U-Net", "unet", None, None),
        Column("ours", None, "ours", None, baseline="unet"),
        Column("theirs", None, "theirs", None, baseline="ours"),
    )
    spec = TableSpec("mixed", "Mixed", None, "unet", columns, ())
    result = result_of(tmp_path, spec, fold_of={case: int(case[5]) for case in sizes})
    (table,) = (t for t in tabulate(result) if t.name == "mixed_strata")
    assert table.notes[0].startswith("Scores of trained columns are of the best epochs")
    rows = {(row[0].partition(":")[0], row[1]): row for row in table.texts}
    assert rows["ET ≥ 500 voxels", "ours"][-2:] == ("–", "–")
    large = [case for case, size in sizes.items() if size >= 500]
    assert rows["ET ≥ 500 voxels", "ours"][2:4] == ("15", f"{np.mean([dice['ours'][c] for c in large]):.4f}")
    test = stats.ttest_rel(*([dice[name][c] for c in large] for name in ("theirs", "ours")))
    low, high = test.confidence_interval()
    delta = np.mean([dice["theirs"][c] - dice["ours"][c] for c in large])
    assert rows["ET ≥ 500 voxels", "theirs"][-2:] == (f"{delta:+.4f}", f"[{low:+.4f}, {high:+.4f}]")


def test_a_table_of_all_experiments_without_a_baseline_says_so(tmp_path: Path, write_experiment: Write) -> None:
    for name in ("ds", "focal"):
        write_experiment(tmp_path, name, [0.8] * 5)
    spec = load_table_spec(EXPERIMENTS / "trained.yaml").expanded(["ds", "focal"], [])
    for chosen, is_said in ((spec, True), (spec.with_baseline("ds"), False)):
        notes = scores_table(result_of(tmp_path, chosen)).notes
        assert any(note.startswith("No column is the baseline") for note in notes) is is_said


def test_a_table_of_every_evaluation_can_be_empty() -> None:
    spec = load_table_spec(EXPERIMENTS / "evaluated.yaml").expanded([], [])
    assert not result_of(NOWHERE, spec).has_any


def test_missing_and_unfinished_folds_are_named(tmp_path: Path, write_run: Write) -> None:
    spec = load_table_spec(DEMO)
    for fold in range(5):
        write_run(tmp_path, "baseline", fold, [0.8])
    write_run(tmp_path, "ds", 0, [0.9])
    write_run(tmp_path, "ds", 1, [0.9], state="running", epochs=9)
    result = result_of(tmp_path, spec)
    table = scores_table(result)
    at = table.header_texts.index("DS")
    folds, mean = [row[at] for row in table.texts[:5]], table.texts[5][at]
    assert folds == ["0.9000", "unfinished", "missing", "missing", "missing"]
    assert mean == "– (1 of 5 folds)"
    assert [row[at].mark for row in table.rows[:3]] == ["best", "unfinished", "missing"]
    assert table.frame()["DS"].tolist() == [0.9, *[None] * 7]
    assert "DS, fold 1: running, epoch 1 of 9." in table.notes
    assert "DS, folds 2, 3, 4: no run." in table.notes
    columns = (
        Column("DS", "ds", None, None),
        Column("Ours", "mine", None, None),
        Column("Theirs", None, "nnunet", None),
    )
    notes = scores_table(result_of(tmp_path, replace(spec, columns=columns))).notes
    assert {"Ours: no run.", "Theirs: not evaluated; run job=evaluate job.name=nnunet."} <= set(notes)
    assert "not decided: no common finished fold with per-case rows" in differences_table(result).texts[0]


def test_folds_beyond_those_of_the_data_do_not_count(tmp_path: Path, write_experiment: Write) -> None:
    spec = load_table_spec(DEMO)
    write_experiment(tmp_path, "baseline", [0.80, 0.82, 0.81, 0.5, 0.5])
    write_experiment(tmp_path, "ds", [0.81, 0.82, 0.83, 0.9, 0.9])
    result = result_of(tmp_path, spec, folds=3)
    assert (result.comparisons[0].folds, result.comparisons[0].cases) == (3, 60)
    assert "! DS, folds 3, 4: left out, as data.n_folds=3." in scores_table(result).notes

    rows = [f"c{fold}{i},{fold},{region},dice,0.{5 + fold}" for fold in range(4) for i in "ab" for region in REGIONS]
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "theirs.csv").write_text("\n".join(["case,fold,region,metric,value", *rows]) + "\n")
    evaluated = replace(spec, baseline=None, columns=(Column("Theirs", None, "theirs", None),))
    result = result_of(tmp_path, evaluated, folds=3)
    assert sorted(result.columns[0].case_scores["fold"].unique()) == [0, 1, 2]
    note = "! Theirs: 2 cases (c3a …) are left out: their folds are beyond data.n_folds=3."
    assert note in scores_table(result).notes


def test_runs_of_different_settings_have_a_note(tmp_path: Path, write_run: Write) -> None:
    spec = load_table_spec(DEMO)
    for fold, epochs in enumerate((10, 20)):
        of_fold = {"fold": fold, "init.checksum": f"{fold}"}  # each fold may start from weights of its own
        write_run(tmp_path, "ds", fold, [0.9], manifest={"identity": {"trainer.epochs": epochs, **of_fold}})
    assert (
        "DS: its runs differ in trainer.epochs (10, 20); they are not one experiment."
        in scores_table(result_of(tmp_path, spec)).notes
    )


def test_different_data_have_a_note(tmp_path: Path, write_run: Write) -> None:
    spec = load_table_spec(DEMO)
    write_run(tmp_path, "baseline", 0, [0.9], manifest={"data_fingerprint": "a"})
    write_run(tmp_path, "ds", 0, [0.9], manifest={"data_fingerprint": "b"})
    assert any("fingerprints differ" in note for note in scores_table(result_of(tmp_path, spec)).notes)


def test_learning_rates_are_shown_only_where_there_are_several(tmp_path: Path, write_run: Write) -> None:
    spec = load_table_spec(DEMO)
    write_run(tmp_path, "ds", 0, [0.9], lr=7e-4)
    assert scores_table(result_of(tmp_path, spec)).texts[0][2] == "0.9000"
    write_run(tmp_path, "ds", 0, [0.91], lr=5e-4)
    assert scores_table(result_of(tmp_path, spec)).texts[0][2] == "0.9100 (5e-4)"


def test_the_best_of_a_row_is_bold_and_ties_both(tmp_path: Path, write_run: Write) -> None:
    spec = load_table_spec(DEMO)
    for fold, (a, b) in enumerate([(0.8, 0.9), (0.9, 0.8), (0.85, 0.85)]):
        write_run(tmp_path, "baseline", fold, [a])
        write_run(tmp_path, "ds", fold, [b])
    rows = scores_table(result_of(tmp_path, spec)).rows
    best = {(r, c) for r, row in enumerate(rows) for c, cell in enumerate(row) if cell.mark == "best"}
    assert best == {(0, 2), (1, 1), (2, 1), (2, 2)}


def test_every_row_has_as_many_cells_as_the_table_has_headers(tmp_path: Path, write_experiment: Write) -> None:
    spec = load_table_spec(EXPERIMENTS / "table2.yaml")
    sizes = {f"case-{fold}-{i:03d}": 100 * i for fold in range(5) for i in range(20)}
    for column in spec.columns[:3]:
        write_experiment(tmp_path, column.experiment, [0.9, 0.91, 0.92, 0.93, 0.94], et_voxels=sizes)
    result = result_of(tmp_path, spec)
    tables = tabulate(result)
    further = ["Differences", "Variability and selection bias", "Subgroup analysis (by ET volume)", "Training", "Cost"]
    assert [table.title for table in tables[1:]] == further
    for table in tables:
        assert {len(row) for row in table.rows} == {len(table.headers)}
        assert len({header.name for header in table.headers}) == len(table.headers)
    assert {len(row) for row in interval_rows(result)} == {len(tables[0].headers)}


def test_the_frame_of_a_table_has_its_numbers(tmp_path: Path, write_experiment: Write) -> None:
    spec = load_table_spec(DEMO)
    write_experiment(tmp_path, "baseline", [0.7, 0.71, 0.72, 0.73, 0.74])
    write_experiment(tmp_path, "ds", [0.8, 0.81, 0.82, 0.83, 0.84], lr=5e-4)
    (untested,) = result_of(tmp_path, spec).comparisons
    assert untested.reason == "no learning rate and seed is finished in every fold of both columns"
    write_experiment(tmp_path, "baseline", [0.6, 0.62, 0.63, 0.65, 0.64], lr=5e-4)
    result = result_of(tmp_path, spec)
    scores, differences = (table.frame() for table in tabulate(result)[:2])
    assert scores.columns.tolist() == ["", "U-Net", "U-Net lr", "DS", "DS lr"]
    assert scores["DS"].tolist()[:6] == pytest.approx([0.8, 0.81, 0.82, 0.83, 0.84, 0.82])
    assert scores["DS lr"].tolist()[:6] == [5e-4] * 5 + [None]
    (c,) = result.comparisons
    row = differences.iloc[0]
    assert (row["95 % CI low"], row["95 % CI high"]) == (known(c.interval.low), known(c.interval.high))
    assert (row["verdict"], row["p"]) == (c.verdict, known(c.p_adjusted))


def test_every_number_of_a_comparison_is_shown(tmp_path: Path, write_run: Write) -> None:
    spec = load_table_spec(DEMO)
    draw = np.random.default_rng(0)
    sizes = {f"c{fold}{i}": 0 if i == 0 else 900 for fold in range(5) for i in range(6)}
    for name, shift in (("baseline", 0.0), ("ds", 0.1)):
        for fold in range(5):
            for seed in range(2):
                values = {f"c{fold}{i}": tuple((0.7 + shift + draw.normal(0, 0.02, 3)).tolist()) for i in range(6)}
                write_run(tmp_path, name, fold, [0.7], seed=seed, cases=values, et_voxels=sizes)
    result = result_of(tmp_path, spec)
    (c,) = result.comparisons
    differences, sources = tabulate(result)[1:3]
    frame, more = differences.frame().iloc[0], sources.frame().iloc[0]
    assert (frame["Δ mean Dice"], frame["p"], frame["verdict"]) == (c.difference, c.p_adjusted, "better")
    assert (frame["min. detectable Δ"], frame["patients"], frame["runs per fold"]) == (
        c.minimum_detectable_effect, 30, 2,
    )  # fmt: skip
    shares = more[["from patients", "from training"]].tolist()
    assert shares == pytest.approx([c.case_variance / c.variance, 1 - c.case_variance / c.variance])
    assert more["Δ by run"].startswith("7e-4 +0.")
    assert "7e-4 seed 1 +0." in more["Δ by run"]
    assert more["noise floor"] == c.noise_floor == result.noise_floor
    assert (more["Δ with ET"], more["p with ET"]) == (c.on_reference.difference, c.on_reference.p_adjusted)
    assert more["no ET: gained, lost"] == "0, 0 of 5"
    assert [row[0].text for row in interval_rows(result)] == ["Δ to baseline", "95 % CI", "adjusted p", "verdict"]
    (written,) = comparisons_dict(result)
    assert (written["column"], written["baseline"], written["on_reference"]["baseline"]) == ("DS", "U-Net", "U-Net")
    assert written["run_differences"] == list(c.run_differences)


def test_a_negligible_difference_is_called_so_wherever_its_verdict_is(tmp_path: Path, write_run: Write) -> None:
    draw = np.random.default_rng(0)
    for fold in range(4):
        cases = {f"c{fold}{i}": draw.uniform(0.6, 0.9, 3) for i in range(30)}
        for name, gain in (("baseline", 0.0), ("ds", 0.0005)):
            values = {case: tuple((dice + gain + draw.normal(0, 2e-4, 3)).tolist()) for case, dice in cases.items()}
            write_run(tmp_path, name, fold, [0.7], cases=values)
    result = result_of(tmp_path, load_table_spec(DEMO))
    (c,) = result.comparisons
    assert (c.verdict, c.reason) == ("better", "negligible; 4 of 5 folds")
    assert interval_rows(result)[-1][2].text == "better: negligible; 4 of 5 folds"
    assert verdict_sentence(result, c) == "DS is better than U-Net, by a negligible difference (within ±0.001)."
    assert verdict_numbers(result, c).endswith("120 patients, 4 of 5 folds")
    assert "DS: better (negligible; 4 of 5 folds)." in paper_table(result).notes


def test_few_patients_are_a_small_sample(tmp_path: Path, write_experiment: Write) -> None:
    spec = load_table_spec(DEMO)
    for name, folds in (("baseline", [0.7, 0.71, 0.72, 0.73, 0.74]), ("ds", [0.8, 0.7, 0.8, 0.7, 0.8])):
        sizes = {f"case-{fold}-{i:03d}": 900 * i for fold in range(5) for i in range(3)}
        write_experiment(tmp_path, name, folds, cases_per_fold=3, et_voxels=sizes)
    result = result_of(tmp_path, spec)
    table = differences_table(result)
    assert "small sample (n = 15)" in " ".join(table.texts[0])
    assert any(note.startswith("Small sample") for note in table.notes)
    assert interval_rows(result)[-1][-1].text.endswith(": small sample")
    (subgroups,) = (t for t in tabulate(result) if t.name == "demo_strata")
    assert [row[0] for row in subgroups.texts] == [
        "no ET", "no ET: small sample", "ET ≥ 500 voxels", "ET ≥ 500 voxels: small sample",
    ]  # fmt: skip
