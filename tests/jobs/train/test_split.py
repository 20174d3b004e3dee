"""Which cases a fold trains and validates on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from brats_ablate.errors import ConfigError, DataError
from brats_ablate.jobs.train.setup import split


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


def test_a_fold_that_does_not_exist_and_a_lost_segmentation_are_refused() -> None:
    cfg = OmegaConf.create({"fold": 2, "paths": {"prepared": "x"}})
    with pytest.raises(ConfigError, match="fold=2 does not exist: x is split into 2 folds"):
        split(cfg, store())
    cfg.fold = 0
    with pytest.raises(DataError, match="case c had a segmentation when the folds were drawn, and has none now"):
        split(cfg, store("c"))
