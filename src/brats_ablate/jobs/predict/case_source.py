"""Where cases to predict come from: the prepared set with its folds, or raw files. Part of `job=predict`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from brats_ablate.errors import ConfigError
from brats_ablate.inference.prediction_store import CROSS_VALIDATED

if TYPE_CHECKING:
    from brats_ablate.data.case_reader import PreparedCase

PREPARED = "prepared"


@dataclass(frozen=True)
class CaseSource:
    """The cases to predict, read when asked for."""

    case_ids: Sequence[str]
    """Of the prepared set fold by fold, so that one fold's networks are needed at a time."""
    load: Callable[[str], PreparedCase]
    """Raises DataError where a case is unfit."""
    fold_of: dict[str, int]
    """Of each case of the prepared set; {} for raw cases, which every member predicts."""
    made_of: dict[str, Any]
    """For the record: where the cases come from."""
    problems: dict[str, str]
    """Cases that cannot be predicted, with the reason."""


def open_source(cfg: DictConfig, source: str, chosen: list[str] | None) -> CaseSource:
    """The cases of `source`, "prepared" or a folder in `cfg.data.layout`; of these only `chosen`, unless that is None.

    Raises:
        ConfigError: a chosen case is not there.
        DataError: the set is not prepared, or the folder holds no case.
    """
    found = _prepared(cfg) if source == PREPARED else _raw(cfg, Path(source))
    if chosen is None:
        return found
    unknown = set(chosen) - set(found.case_ids) - found.problems.keys()
    if unknown:
        raise ConfigError(f"job.cases: there is no case {sorted(unknown)[0]} in {source}; check the id")
    return dataclasses.replace(
        found,
        case_ids=[c for c in found.case_ids if c in chosen],
        problems={c: p for c, p in found.problems.items() if c in chosen},
    )


def _prepared(cfg: DictConfig) -> CaseSource:
    from brats_ablate.data.case_reader import PreparedCase
    from brats_ablate.jobs.build import open_store

    store = open_store(cfg)
    return CaseSource(
        case_ids=[c for fold in store.folds for c in fold],
        load=lambda case_id: PreparedCase(store.record(case_id), store.read_images(case_id), None),
        fold_of={c: k for k, fold in enumerate(store.folds) for c in fold},
        made_of={"cases": CROSS_VALIDATED, "data_fingerprint": store.fingerprint},
        problems={},
    )


def _raw(cfg: DictConfig, folder: Path) -> CaseSource:
    from brats_ablate.data.case_reader import read_case
    from brats_ablate.data.layouts import find_cases
    from brats_ablate.data.validation import file_problems

    found = find_cases(folder, cfg.data.layout, need_segmentation=False)
    problems = file_problems(found, need_segmentation=False)
    # A segmentation beside the images is not looked at: neither the crop nor anything else may depend on it.
    fit = {c.case_id: dataclasses.replace(c, segmentation=None) for c in found if c.case_id not in problems}

    def load(case_id: str) -> PreparedCase:
        return read_case(fit[case_id], cfg.data.convention)

    return CaseSource(list(fit), load, {}, {"cases": str(folder.resolve())}, problems)
