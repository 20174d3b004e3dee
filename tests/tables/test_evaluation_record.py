"""What differs between two evaluations."""

from __future__ import annotations

import json
from pathlib import Path

from pandas import DataFrame

from brats_ablate.cases import CROSS_VALIDATED
from brats_ablate.tables.evaluation_record import EvaluationRecord, evaluation_differences, read_record


def predicted_by(members: int, tta: str, threshold: float) -> dict[str, object]:
    return {
        "probabilities": {
            "members": [f"ds fold={k} lr=0.0007 seed=0 1.pt" for k in range(members)],
            "tta": {"_target_": f"brats_ablate.inference.tta.{tta}"},
            "precision": "bf16",
        },
        "labels": {"convention": "brats2021", "settings": {"all": {"thresholds": [threshold] * 20}}},
    }


def rows(first: int, last: int, folds: int) -> DataFrame:
    return DataFrame({"fold": [i % folds if folds else -1 for i in range(first, last)]}, index=range(first, last))


def test_equal_evaluations_differ_in_nothing() -> None:
    record = EvaluationRecord("p", "brats2021", predicted_by(2, "NoTTA", 0.5))
    assert evaluation_differences((record, rows(0, 10, 5)), (record, rows(0, 10, 5))) == []


def test_every_difference_is_named_baseline_first() -> None:
    base = EvaluationRecord("policy " * 10, "brats2021", predicted_by(10, "FlipTTA", 0.45))
    ours = EvaluationRecord("other " * 10, "msd", predicted_by(5, "NoTTA", 0.5))
    assert evaluation_differences((ours, rows(5, 12, 4)), (base, rows(0, 10, 5))) == [
        "5 common cases",
        "cases (10, 7)",
        "folds (5, 4)",
        "networks (10, 5)",
        "test-time augmentation (FlipTTA, NoTTA)",
        "thresholds or post-processing",
        "label values (brats2021, msd)",
        "definitions of the metrics",
    ]


def test_training_cases_are_those_of_the_other_folds(tmp_path: Path) -> None:
    folds = {"a": 0, "b": 0, "c": 1, "d": 2}
    cases = {"/data/raw": {1: {"c", "d"}, 2: {"a", "b", "c", "d"}}, CROSS_VALIDATED: {2: set()}, None: {2: set()}}
    for origin, expected in cases.items():
        for members, trained_on in expected.items():
            manifest = predicted_by(members, "NoTTA", 0.5)
            manifest["probabilities"]["cases"] = origin
            assert EvaluationRecord("p", "brats2021", manifest).trained_on(folds) == trained_on
    assert EvaluationRecord("p", "brats2021", {}).trained_on(folds) == set()


def test_networks_of_other_data_were_not_trained_on_these() -> None:
    manifest = predicted_by(2, "NoTTA", 0.5)
    manifest["probabilities"]["cases"] = "/data/raw"
    first, second = manifest["probabilities"]["members"]
    record = EvaluationRecord("p", "brats2021", manifest | {"trained_on": {first: "these", second: None}})
    folds = {"a": 0, "b": 1}
    assert record.trained_on(folds, "these") == {"b"}  # by the first one, which held out fold 0
    assert record.trained_on(folds, "others") == record.trained_on(folds) == set()


def test_another_program_has_no_known_networks(tmp_path: Path) -> None:
    content = {"policy": "p", "labels": "msd", "predicted_by": predicted_by(2, "NoTTA", 0.5)}
    (tmp_path / "ours.json").write_text(json.dumps(content))
    ours, theirs = read_record(tmp_path / "ours.csv"), read_record(tmp_path / "theirs.csv")
    assert ours.experiments == {"ds"}
    assert (theirs.networks, theirs.tta, theirs.experiments, theirs.settings) == ("unknown", "unknown", set(), {})
    assert "networks (2, unknown)" in evaluation_differences((theirs, rows(0, 3, 0)), (ours, rows(0, 3, 0)))
