"""Which cases a fold trains and validates on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from brats_ablate.errors import ConfigError, DataError
from brats_ablate.jobs.train.split import split


def store(*unlabeled: str) -> Any:
    """Folds of a, b and c; d was prepared for prediction only."""
    return SimpleNamespace(
        folds=[["a", "b"], ["c"]],
        case_ids=["a", "b", "c", "d"],
        record=lambda case_id: SimpleNamespace(has_labels=case_id not in ("d", *unlabeled)),
    )


def test_a_fold_trains_on_the_cases_of_the_others() -> None:
    cfg = OmegaConf.create({"fold": 1, "paths": {"prepared": "x"}})
    assert split(cfg, store()) == (["a", "b"], ["c"])
    cfg.fold = 0
    assert split(cfg, store()) == (["c"], ["a", "b"])


def test_a_fraction_takes_whole_patients_and_leaves_validation_as_it_is() -> None:
    patients = {f"p{i}-{scan}": f"p{i}" for i in range(20) for scan in range(1 + i % 3)}
    folds = [[c for c, p in patients.items() if int(p[1:]) % 2 == fold] for fold in (0, 1)]
    of_all: Any = SimpleNamespace(
        folds=folds, record=lambda c: SimpleNamespace(has_labels=True, patient_id=patients[c]), case_ids=list(patients)
    )
    whole, quarter = (
        OmegaConf.create({"fold": 1, "paths": {"prepared": "x"}, "data": {"fraction": f, "fold_seed": 1}})
        for f in (1, 0.25)
    )
    assert split(whole, of_all) == (sorted(folds[0]), folds[1])
    training, validation = split(quarter, of_all)
    assert validation == folds[1]
    taken = {patients[c] for c in training}
    assert len(taken) == 2  # of 10 patients, 2.5 are rounded to 2
    assert training == sorted(c for c, patient in patients.items() if patient in taken)


def test_data_without_a_segmentation_cannot_be_trained_on() -> None:
    cfg = OmegaConf.create({"fold": 0, "paths": {"prepared": "x"}})
    none: Any = SimpleNamespace(folds=[[], []])
    with pytest.raises(DataError, match="no case of x has a segmentation: nothing to train on; prepare labeled cases"):
        split(cfg, none)


def test_a_fold_that_does_not_exist_and_a_lost_segmentation_are_refused() -> None:
    cfg = OmegaConf.create({"fold": 2, "paths": {"prepared": "x"}})
    with pytest.raises(ConfigError, match="fold=2 does not exist: x is split into 2 folds"):
        split(cfg, store())
    cfg.fold = 0
    with pytest.raises(DataError, match="case c had a segmentation when the folds were drawn, and has none now"):
        split(cfg, store("c"))


def test_a_fold_whose_cases_are_all_invalid_cannot_be_validated_on() -> None:
    cfg = OmegaConf.create({"fold": 1, "paths": {"prepared": "x"}})
    emptied: Any = SimpleNamespace(folds=[["a"], []])
    with pytest.raises(DataError, match=r"fold 1 of x has no valid case, .*; correct its cases \(problems\.csv\)"):
        split(cfg, emptied)
