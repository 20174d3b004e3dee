"""How columns were trained, by hand, and what is said where they differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from table_results import result_of

from brats_ablate.runs.directory import RunDirectory
from brats_ablate.tables.build import TableResult
from brats_ablate.tables.run_tables import training_table
from brats_ablate.tables.scores import summarize_run
from brats_ablate.tables.spec import Column, TableSpec
from brats_ablate.tables.tabulate import scores_table, tabulate, training_rows
from brats_ablate.tables.training_setup import TrainingSetup, setup_of

Write = Callable[..., RunDirectory]
ALIKE = ("1000", "10", "2", "bf16", "every epoch", "A100")


def manifest(
    *,
    batch: int = 2,
    processes: int = 1,
    epochs: int = 1000,
    precision: str = "bf16",
    device: str = "A100",
    validate_every: int = 1,
    final_every: int | None = None,
) -> dict[str, Any]:
    flat: dict[str, Any] = {"trainer.batch_size": batch, "trainer.epochs": epochs, "trainer.precision": "auto"}
    flat |= {"trainer.validate_every": validate_every, "validation.final_every": final_every}
    return {"identity": flat, "world_size": processes, "precision": precision, "hardware": device}


def table_of(runs: Path, *names: str) -> TableResult:
    columns = tuple(Column(name.upper(), name, None, None) for name in names)
    return result_of(runs, TableSpec("t", "T", None, names[0], columns), folds=2)


def flags(result: TableResult) -> list[str]:
    return [note for note in scores_table(result).notes if note.startswith("!")]


def shown(result: TableResult) -> dict[str, tuple[str, ...]]:
    return {row[0]: row[1:] for row in training_table(result).texts}


def test_the_global_batch_counts_all_processes_and_steps_come_from_the_epochs(tmp_path: Path, write_run: Write) -> None:
    run = summarize_run(write_run(tmp_path, "ds", 0, [0.5, 0.6, 0.7], manifest=manifest(batch=3, processes=8)))
    assert setup_of(run) == TrainingSetup(1000, 10, 24, "bf16", "every epoch", "A100")


def test_runs_that_were_trained_alike_have_no_flag(tmp_path: Path, write_run: Write) -> None:
    for name in ("a", "b"):
        for fold in (0, 1):
            write_run(tmp_path, name, fold, [0.5], manifest=manifest())
    result = table_of(tmp_path, "a", "b")
    assert flags(result) == []
    assert shown(result) == {"A": ALIKE, "B": ALIKE}
    assert training_table(result).frame()["global batch"].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"processes": 8}, "! Global batch differs: A 2, B 16; these runs were not trained alike."),
        ({"batch": 4}, "! Global batch differs: A 2, B 4; these runs were not trained alike."),
        ({"precision": "fp32"}, "! Precision differs: A bf16, B fp32; these runs were not trained alike."),
        (
            {"validate_every": 10, "final_every": 1},
            "! Validation differs: A every epoch, B every epoch of the final tenth; these runs were not trained alike.",
        ),
        ({"epochs": 30}, "! Epochs differ: A 1000, B 30; these runs were not trained alike."),
    ],
)
def test_columns_that_differ_are_flagged(
    tmp_path: Path, write_run: Write, change: Mapping[str, Any], note: str
) -> None:
    for fold in (0, 1):
        write_run(tmp_path, "a", fold, [0.5], manifest=manifest())
        write_run(tmp_path, "b", fold, [0.5], manifest=manifest(**change))
    assert flags(table_of(tmp_path, "a", "b")) == [note]


def test_columns_of_one_title_are_compared_as_well(tmp_path: Path, write_run: Write) -> None:
    write_run(tmp_path, "ds", 0, [0.5], manifest=manifest(precision="fp16"))
    write_run(tmp_path, "baseline", 0, [0.5], manifest=manifest())
    keys = (("DS", "ds", None), ("DS", None, "ds_tuned"), ("U-Net", "baseline", None))
    spec = TableSpec("t", "T", None, None, tuple(Column(*key, None) for key in keys))
    result = result_of(tmp_path, spec, folds=2)
    assert flags(result) == ["! Precision differs: DS fp16, U-Net bf16; these runs were not trained alike."]


def test_a_best_epoch_of_the_final_tenth_is_named_as_such(tmp_path: Path, write_run: Write) -> None:
    write_run(tmp_path, "a", 0, [0.5], manifest=manifest(validate_every=10, final_every=2))
    (note,) = (note for note in scores_table(table_of(tmp_path, "a")).notes if "final tenth" in note)
    assert note.startswith("Best epochs are those of the final tenth")
    assert shown(table_of(tmp_path, "a"))["A"][4] == "every 2 epochs of the final tenth"


def test_columns_of_different_folds_are_flagged(tmp_path: Path, write_run: Write) -> None:
    plain = manifest()
    drawn_by = {"data.n_folds": 2, "data.fold_seed": 1}
    for fold in (0, 1, 2):
        write_run(
            tmp_path,
            "a",
            fold,
            [0.5],
            manifest=plain | {"identity": plain["identity"] | drawn_by | {"data.n_folds": 3}},
        )
    write_run(tmp_path, "b", 0, [0.5], manifest=plain | {"identity": plain["identity"] | drawn_by})
    assert flags(table_of(tmp_path, "a", "b")) == [
        "! The runs were trained with different folds (data.n_folds=2 data.fold_seed=1; data.n_folds=3 data.fold_seed=1): "
        "scores of one fold are of different cases, so columns are not comparable.",
        "! A, fold 2: left out, as data.n_folds=2.",
    ]


def test_columns_that_held_out_other_cases_are_flagged(tmp_path: Path, write_run: Write) -> None:
    for name, held_out in (("a", "x"), ("b", "x"), ("c", "y")):
        write_run(tmp_path, name, 0, [0.5], manifest=manifest() | {"held_out": held_out})
    assert flags(table_of(tmp_path, "a", "b")) == []
    (note,) = flags(table_of(tmp_path, "a", "c"))
    assert note.startswith("! The runs were trained with different folds: scores of one fold")


def test_two_ranks_of_half_the_batch_are_the_same_global_batch(tmp_path: Path, write_run: Write) -> None:
    write_run(tmp_path, "a", 0, [0.5], manifest=manifest(batch=2, processes=1))
    write_run(tmp_path, "b", 0, [0.5], manifest=manifest(batch=1, processes=2))
    assert flags(table_of(tmp_path, "a", "b")) == []


def test_runs_of_one_column_that_differ_are_shown_and_named(tmp_path: Path, write_run: Write) -> None:
    write_run(tmp_path, "a", 0, [0.5], manifest=manifest())
    write_run(tmp_path, "a", 1, [0.5], manifest=manifest(processes=8, device="H100"))
    result = table_of(tmp_path, "a")
    assert flags(result) == [
        "! Global batch differs: A 2 / 16; these runs were not trained alike.",
        "! A, global batch: 2 in fold 0; 16 in fold 1.",
    ]
    assert shown(result) == {"A": ("1000", "10", "2 / 16", "bf16", "every epoch", "A100 / H100")}
    assert training_table(result).frame()["global batch"].tolist() == ["2 / 16"]


def test_runs_of_one_fold_are_named_by_learning_rate_and_seed(tmp_path: Path, write_run: Write) -> None:
    write_run(tmp_path, "a", 0, [0.5], manifest=manifest())
    write_run(tmp_path, "a", 0, [0.5], lr=5e-4, seed=1, manifest=manifest(precision="fp16"))
    assert flags(table_of(tmp_path, "a"))[1] == (
        "! A, precision: bf16 in fold 0 (lr 7e-4, seed 0); fp16 in fold 0 (lr 5e-4, seed 1)."
    )


def test_steps_that_differ_by_the_cases_of_the_fold_are_shown_without_a_flag(tmp_path: Path, write_run: Write) -> None:
    write_run(tmp_path, "a", 0, [0.5], manifest=manifest())
    run = write_run(tmp_path, "a", 1, [0.5], manifest=manifest())
    run.append("metrics.jsonl", [{"epoch": 1, "step": 11, "dice": 0.5}])
    result = table_of(tmp_path, "a")
    assert (flags(result), shown(result)["A"][1]) == ([], "10 / 11")


def test_what_an_earlier_version_did_not_record_is_a_dash_and_no_difference(tmp_path: Path, write_run: Write) -> None:
    write_run(tmp_path, "a", 0, [0.5], manifest=manifest())
    old = write_run(tmp_path, "b", 0, [0.5])
    (old.path / "metrics.jsonl").write_text("")
    (write_run(tmp_path, "c", 0, [0.5]).path / "manifest.json").unlink()
    result = table_of(tmp_path, "a", "b", "c")
    assert shown(result)["B"] == ("–",) * 6
    assert shown(result)["C"] == ("–", "10", "–", "–", "–", "–")
    assert flags(result) == []


def test_a_table_alone_has_the_same_cells_as_rows(tmp_path: Path, write_run: Write) -> None:
    write_run(tmp_path, "a", 0, [0.5], manifest=manifest())
    write_run(tmp_path, "b", 0, [0.5], manifest=manifest(processes=2))
    result = table_of(tmp_path, "a", "b")
    rows = [tuple(cell.text for cell in row) for row in training_rows(result)]
    assert rows == [
        ("Epochs", "1000", "1000"),
        ("Steps per epoch", "10", "10"),
        ("Global batch", "2", "4"),
        ("Precision", "bf16", "bf16"),
        ("Validation", "every epoch", "every epoch"),
        ("Device", "A100", "A100"),
    ]


def test_evaluations_have_no_training(tmp_path: Path) -> None:
    spec = TableSpec("t", "T", None, None, (Column("E", None, "e", None),))
    result = result_of(tmp_path, spec, folds=2)
    assert training_rows(result) == []
    assert "Training" not in [table.title for table in tabulate(result)]


def test_scores_that_are_null_are_not_validated_epochs(tmp_path: Path, write_run: Write) -> None:
    run = write_run(tmp_path, "a", 0, [0.5, 0.4], manifest=manifest())
    nothing = dict.fromkeys(("dice", "dice/WT", "loss", "grad_norm", "lr"))
    run.append("metrics.jsonl", [{"epoch": 3, "step": 30, **nothing}])
    result = table_of(tmp_path, "a")
    assert result.columns[0].scores.per_fold_lr.values[0] == 0.5
    assert len(tabulate(result)) >= 2
