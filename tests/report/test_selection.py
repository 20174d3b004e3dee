"""Which tables a report shows: named by hand for what was trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from schemes import BRATS2021, REGIONS
from table_results import result_of, write_values

from brats_ablate.report.selection import distinct_tables
from brats_ablate.report.summary import missing_folds, summary_section
from brats_ablate.runs.directory import Coordinates, RunDirectory, RunRecord
from brats_ablate.tables.build import ResultsStore, TableResult, build
from brats_ablate.tables.scores import RunSummary, load_runs
from brats_ablate.tables.spec import Column, TableSpec, load_table_specs

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def _write(runs: Path, name: str, folds: int = 2, state: str = "finished", shift: float = 0.0) -> None:
    for fold in range(folds):
        run = RunDirectory.at(runs, Coordinates(name, fold, 7e-4, 0))
        run.path.mkdir(parents=True)
        dice = np.random.default_rng([fold, *name.encode()]).normal(0.6, 0.002, 6) + np.arange(6) / 30 + shift
        done = [{"epoch": 1, "step": 9, "seconds": 3600.0, "dice": float(dice.mean())}] if state == "finished" else []
        run.append("metrics.jsonl", done)
        rows = [
            {"epoch": 1, "case": f"{fold}-{i}", **dict.fromkeys(("WT", "TC", "ET"), float(v))}
            for i, v in enumerate(dice)
        ]
        run.append("cases.jsonl", rows if done else [])
        run.write_manifest({"identity": {}})
        run.write_status(RunRecord(state, len(done), 1, 0.5 if done else None))


def _results(runs: Path, extra: Sequence[TableSpec] = (), *, with_paper: bool = False) -> list[TableResult]:
    names = sorted(path.name for path in runs.iterdir())
    specs = [*(s.expanded(names, []) for s in load_table_specs([EXPERIMENTS], None)), *extra]
    specs = specs if with_paper else [s.without_paper_figures() for s in specs]
    store = ResultsStore(load_runs(runs, {c.experiment or "" for s in specs for c in s.columns}), runs, {}, BRATS2021)
    return [r for r in build(specs, store, folds=2, resamples=100, seed=0) if r.has_any]


def _runs(results: Sequence[TableResult]) -> list[RunSummary]:
    return list({str(r.directory.path): r for t in results for c in t.columns for r in c.scores.runs}.values())


@pytest.mark.parametrize(
    ("trained", "with_paper", "expected"),
    [
        (("baseline", "ds"), False, ["demo"]),  # also in Tables 1, 2 and 3 and under "Everything trained"
        (("baseline", "ds"), True, ["table2"]),  # the paper's figures go with the demo's columns
        (("baseline", "ds", "residual"), False, ["table2"]),
        (("baseline", "unetr", "ds", "ds_deeper"), False, ["table1", "table3", "demo"]),
        (("baseline", "ds", "mine"), False, ["demo", "trained"]),
        (("mine",), False, ["trained"]),
    ],
)
def test_no_table_repeats_another(
    tmp_path: Path, trained: tuple[str, ...], with_paper: bool, expected: list[str]
) -> None:
    for name in trained:
        _write(tmp_path, name)
    shown = distinct_tables(_results(tmp_path, with_paper=with_paper))
    assert [result.spec.name for result in shown] == expected


def test_other_baselines_and_effects_are_no_repetition(tmp_path: Path) -> None:
    on = {"baseline": (), "a": ("A",), "b": ("B",), "ab": ("A", "B")}
    for name in on:
        _write(tmp_path, name)
    columns = tuple(Column(name, name, None, None, factors=factors) for name, factors in on.items())
    design = TableSpec("design", "Design", None, "baseline", columns)
    plain = replace(design, name="plain", columns=tuple(replace(c, factors=None) for c in columns))
    against_a = replace(plain, name="against_a", baseline="a")
    shown = distinct_tables(_results(tmp_path, [plain, design, against_a]))
    assert [result.spec.name for result in shown] == ["design", "against_a"]


def test_tables_without_a_score_are_shown_only_while_none_has_one(tmp_path: Path) -> None:
    _write(tmp_path, "unetr", state="running")
    results = _results(tmp_path)
    assert distinct_tables(results) == results
    assert "No result yet: 2 runs started, none finished." in summary_section(results, _runs(results))
    _write(tmp_path, "ds")
    assert [result.spec.name for result in distinct_tables(_results(tmp_path))] == ["demo"]


def test_the_summary_by_hand(tmp_path: Path) -> None:
    _write(tmp_path, "baseline")
    _write(tmp_path, "ds", shift=0.1)
    _write(tmp_path, "residual", folds=1)
    results = _results(tmp_path)
    shown = distinct_tables(results)
    text = summary_section(shown, _runs(results))
    best = np.mean(
        [run.best["dice"] for run in _runs(results) if run.coordinates.name == "ds" and run.coordinates.fold == 0]
    )
    assert "3 variants (baseline, DS, Residual) on 12 cases in 2 folds." in text
    assert text.count("<li>") == 2
    assert '<b class="better">DS is better than baseline.</b>' in text
    assert "Residual vs baseline is not tested: one fold does not show run-to-run variability." in text
    assert "12 patients, small sample (fewer than 20)" in text
    assert f"Highest mean Dice: DS, {best:.4f} over fold 0 (best epochs)." in text
    assert "Cost: 5h00m of training in 5 runs." in text
    assert 'Missing: 1 fold of 1 variant, 3 untrained variants (<a href="#missing">' in text
    assert missing_folds(shown)["residual"] == [1]


def test_a_trained_and_evaluated_variant_is_counted_once(tmp_path: Path) -> None:
    _write(tmp_path, "baseline")
    _write(tmp_path, "ds")
    results = _results(tmp_path)
    shown = distinct_tables(results)
    evaluated = replace(shown[0].columns[1], column=Column("DS", None, "ds", None))
    shown += [replace(shown[0], columns=(evaluated,), comparisons=())]
    assert "2 variants (U-Net, DS) on 12 cases in 2 folds." in summary_section(shown, _runs(results))


def test_evaluations_of_the_same_cases_have_a_best_one_and_no_epochs(tmp_path: Path) -> None:
    for name, first in (("a", 0), ("b", 0), ("easy", 3)):
        lines = [f"c{i},{r},dice,{0.5 + i / 100 + (name == 'b') / 10}" for i in range(first, 8) for r in REGIONS]
        write_values(tmp_path / "evaluation" / f"{name}.csv", lines)
    for names, best in ((("a", "b"), "b"), (("a", "easy"), None)):
        spec = TableSpec("t", "T", None, "a", tuple(Column(name, None, name, None) for name in names))
        text = summary_section([result_of(tmp_path, spec, folds=2, fold_of={f"c{i}": i % 2 for i in range(8)})], [])
        assert (f"Highest mean Dice: {best}, 0.6350 over the 2 folds that all have." in text) is (best is not None)
        assert "epoch" not in text


def test_cases_of_no_fold_are_counted_apart(tmp_path: Path) -> None:
    spec = TableSpec("t", "T", None, None, (Column("a", None, "a", None),))
    write_values(tmp_path / "evaluation" / "a.csv", [f"c{i},{r},dice,0.5" for i in range(7) for r in REGIONS])
    for in_folds, on in ((4, "on 4 cases in 2 folds and on 3 cases of no fold"), (0, "on 7 cases of no fold")):
        folds = {f"c{i}": i % 2 for i in range(in_folds)} or {"other": 0}
        assert f"1 variant (a) {on}." in summary_section([result_of(tmp_path, spec, folds=2, fold_of=folds)], [])
