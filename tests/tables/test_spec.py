from __future__ import annotations

from pathlib import Path

import pytest

from brats_ablate.errors import ConfigError
from brats_ablate.tables.spec import PaperFigures, load_table_spec, load_table_specs

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def _file(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def test_exactly_the_papers_three_misprints_are_found_by_computing() -> None:
    specs = load_table_specs([EXPERIMENTS], None)
    figures = {c.title: c.paper for spec in specs for c in spec.columns if c.paper}
    assert {title for title, paper in figures.items() if paper.is_misprint} == {"Focal", "Deeper", "One-hot"}
    assert all(paper.erratum for paper in figures.values() if paper.is_misprint)


def test_every_experiment_of_the_tables_exists() -> None:
    known = {file.stem for file in (EXPERIMENTS.parent / "conf" / "experiment").glob("*.yaml")}
    wanted = {c.experiment for spec in load_table_specs([EXPERIMENTS], None) for c in spec.columns if c.experiment}
    assert wanted <= known


def test_the_same_column_has_the_same_figures_in_every_table() -> None:
    seen: dict[str, PaperFigures] = {}
    for spec in load_table_specs([EXPERIMENTS], None):
        for column in spec.columns:
            if column.paper:
                assert seen.setdefault(column.key, column.paper).folds == column.paper.folds


def test_a_column_can_have_a_baseline_of_its_own(tmp_path: Path) -> None:
    spec = load_table_spec(
        _file(
            tmp_path,
            "title: T\nbaseline: a\ncolumns: [{title: A, experiment: a}, {title: B, experiment: b}, "
            "{title: C, experiment: c, against: b}]",
        )
    )
    assert [spec.baseline_of(i) for i in range(3)] == [None, 0, 1]


def test_columns_trained_expand_to_every_experiment_with_runs(tmp_path: Path) -> None:
    spec = load_table_spec(_file(tmp_path, "title: T\nbaseline: b\ncolumns: trained")).expanded(["a", "b"], ["c"])
    assert [c.experiment for c in spec.columns] == ["a", "b"]
    assert [spec.baseline_of(i) for i in range(2)] == [1, None]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("columns: []", "has no title"),
        ("title: T", "has no columns"),
        ("title: T\ncolums: []", "colums is not a known key; did you mean columns?"),
        ("title: T\nbaseline: b\ncolumns: [{title: A, experiment: a}]", "baseline=b is not a column"),
        ("title: T\ncolumns: [{title: A, experimnt: a}]", "did you mean columns\\[0\\].experiment"),
        ("title: T\ncolumns: [{title: A, experiment: a, against: b}]", "columns\\[0\\].against=b is not a column"),
        ("title: T\ncolumns: [{title: A, experiment: a}, {title: B, experiment: a}]", "two columns a"),
        ("title: T\ncolumns: [{title: A, experiment: a, evaluation: b}]", "keep one"),
        ("title: T\ncolumns: [{title: A, experiment: a, paper: {folds: [1]}}]", "needs folds and mean"),
        ("title: T\ncolumns: 5", "columns=5 must be a list"),
        (
            "title: T\ncolumns: [{title: A, experiment: a, paper: 3}]",
            "columns\\[0\\].paper=3 must have the keys folds and",
        ),
        (
            "title: T\ncolumns: [{title: A, experiment: a, paper: {folds: 0.9, mean: 1}}]",
            "columns\\[0\\].paper.folds=0.9 must be a list",
        ),
        (
            "title: T\ncolumns: [{title: A, experiment: a, paper: {folds: [1], mean: abc}}]",
            "columns\\[0\\].paper.mean contains 'abc', which is no number",
        ),
        (
            "title: T\ncolumns: [{title: A, experiment: a, paper: {folds: [1], mean: 1, epochs: '30'}}]",
            "columns\\[0\\].paper.epochs contains '30', which is no number",
        ),
        ("title: T\nranking: 3", "ranking=3 must be a list"),
        ("title: [", "is not YAML"),
    ],
)
def test_a_wrong_file_is_reported_in_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_table_spec(_file(tmp_path, text))


def test_no_table_has_the_name_of_the_file_of_case_rows(tmp_path: Path) -> None:
    for file, name in (("cases", "table_cases"), ("case", "case")):
        (tmp_path / f"{file}.yaml").write_text("title: T\ncolumns: [{title: A, experiment: a}]")
        (spec,) = load_table_specs([tmp_path], [file])
        assert spec.name == name


def test_numbers_are_names_as_written(tmp_path: Path) -> None:
    text = "title: 1\npaper: 3.3\nbaseline: 2021\ncolumns: [{title: 1, experiment: 2021}, {title: 2, evaluation: 7, against: 2021}]"
    spec = load_table_spec(_file(tmp_path, text))
    assert (spec.paper, spec.baseline, spec.baseline_of(1)) == ("3.3", "2021", 0)
    assert [(c.experiment, c.evaluation, c.baseline) for c in spec.columns] == [
        ("2021", None, None),
        (None, "7", "2021"),
    ]


def test_an_unknown_table_is_reported_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="did you mean table1"):
        load_table_specs([EXPERIMENTS], ["tabel1"])


def test_a_table_can_be_given_as_a_path(tmp_path: Path) -> None:
    path = _file(tmp_path, "title: T\ncolumns: [{title: A, experiment: a}]")
    assert [s.name for s in load_table_specs([EXPERIMENTS], [str(path)])] == ["mine"]


def test_columns_evaluated_compare_a_name_with_its_longest_prefix(tmp_path: Path) -> None:
    spec = load_table_spec(_file(tmp_path, "title: T\ncolumns: evaluated"))
    spec = spec.expanded(["x"], ["ds_tuned", "ds", "ds_onehot_tuned", "ds_onehot", "dsx"])
    assert [(c.key, c.baseline) for c in spec.columns] == [
        ("ds", None),
        ("ds_onehot", "ds"),
        ("ds_onehot_tuned", "ds_onehot"),
        ("ds_tuned", "ds"),
        ("dsx", None),
    ]
    assert [spec.baseline_of(i) for i in range(5)] == [None, 0, 1, 0, None]


def test_a_selecting_table_can_be_given_a_baseline(tmp_path: Path) -> None:
    spec = load_table_spec(_file(tmp_path, "title: T\ncolumns: evaluated")).expanded([], ["ds", "ds_tuned", "theirs"])
    assert [spec.with_baseline("ds").baseline_of(i) for i in range(3)] == [None, 0, 0]
    assert spec.with_baseline("absent") == spec
    fixed = load_table_spec(_file(tmp_path, "title: T\ncolumns: [{title: A, experiment: a}]"))
    assert fixed.with_baseline("a") == fixed
