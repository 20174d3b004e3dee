"""The cases that `job=predict` predicts: the prepared set with its folds, or raw files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from omegaconf import DictConfig

from brats_ablate.cases import CROSS_VALIDATED
from brats_ablate.errors import ConfigError, DataError
from brats_ablate.jobs.predict.network_inputs import (
    NetworkInputs,
    describe_missing,
    required_modalities,
    without_any_modality,
)

if TYPE_CHECKING:
    from brats_ablate.cases import RawCase
    from brats_ablate.data.case_reader import PreparedCase, ReadingRules
    from brats_ablate.data.store import CaseStore

Given = TypeVar("Given")
Result = TypeVar("Result")

PREPARED = "prepared"
"""In place of a folder: the cases of the prepared set, and their references."""


@dataclass(frozen=True)
class CaseSource:
    """The cases to predict, each read on request."""

    case_ids: Sequence[str]
    """The prepared set is ordered by fold, so one fold's networks are loaded at a time; then those without labels."""
    load: Callable[[str], PreparedCase]
    """Raises DataError if a case is invalid. Picklable for raw cases."""
    fold_of: dict[str, int]
    """Fold of each prepared case that has one. Every member predicts raw cases, and prepared ones without labels."""
    provenance: dict[str, Any]
    """Origin of the cases, for the manifest."""
    problems: dict[str, str]
    """Case id -> reason, of the cases that cannot be predicted."""
    files: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    """The files of each raw case."""
    reading: Mapping[str, Any] = field(default_factory=dict)
    """The settings that raw cases are read by, for the manifest."""
    store: CaseStore | None = None
    """The prepared set, if the cases are of it."""


def or_error(function: Callable[[Given], Result], argument: Given) -> Result | DataError:
    """Return `function(argument)`, or the DataError that it raises for an invalid case."""
    try:
        return function(argument)
    except DataError as error:
        return error


def open_source(
    cfg: DictConfig,
    source: str,
    chosen: list[str] | None,
    networks: Sequence[NetworkInputs] = (),
    *,
    segmentations: bool = False,
) -> CaseSource:
    """Return the `chosen` cases, or all, of a source: "prepared", or a folder in the layout `cfg.data.layout`.

    `networks` are those that will get the cases; they decide which modalities a raw case must have. With
    `segmentations`, raw cases are read with theirs, which must not happen before a prediction.

    Raises:
        ConfigError: a chosen case does not exist, or the prepared set lacks a modality of a network.
        DataError: the set is not prepared, or the folder contains no case.
    """
    cases = _prepared(cfg, networks) if source == PREPARED else _raw(cfg, Path(source), networks, segmentations)
    if chosen is None:
        return cases
    unknown = set(chosen) - set(cases.case_ids) - cases.problems.keys()
    if unknown:
        raise ConfigError(f"job.cases: there is no case {sorted(unknown)[0]} in {source}; check the id")
    problems = {c: p for c, p in cases.problems.items() if c in chosen}
    return dataclasses.replace(cases, case_ids=[c for c in cases.case_ids if c in chosen], problems=problems)


def _prepared(cfg: DictConfig, networks: Sequence[NetworkInputs]) -> CaseSource:
    from brats_ablate.data.case_reader import PreparedCase
    from brats_ablate.jobs.build import open_store

    store = open_store(cfg)
    if missing := [m for network in networks for m in network.modalities if m not in store.modalities]:
        raise ConfigError(f"{store.folder} contains no {missing[0]}, which a network takes; prepare it, too")
    provenance = {"cases": CROSS_VALIDATED, "data_fingerprint": store.fingerprint}

    def load(case_id: str) -> PreparedCase:
        return PreparedCase(store.record(case_id), store.read_images(case_id), None, store.modalities)

    fold_of = {c: k for k, fold in enumerate(store.folds) for c in fold}
    unlabeled = [c for c in store.case_ids if c not in fold_of and not store.record(c).has_labels]
    return CaseSource([*fold_of, *unlabeled], load, fold_of, provenance, {}, store=store)


def _raw(cfg: DictConfig, folder: Path, networks: Sequence[NetworkInputs], segmentations: bool) -> CaseSource:
    from brats_ablate.config.data_options import known_layouts
    from brats_ablate.data.case_list import read_list
    from brats_ablate.data.case_reader import source_files
    from brats_ablate.data.dataset_json import find
    from brats_ablate.data.raw_cases import find_cases
    from brats_ablate.data.validation import validate_files
    from brats_ablate.jobs.build import layout_of

    layout = layout_of(cfg)
    is_list = folder.suffix in (".csv", ".json")
    if is_list:
        cases = read_list(folder, layout)
    else:
        cases = find_cases(folder, layout, need_segmentation=False, known=known_layouts(), key="job.source")
    remedy = "add the file, as not every network was trained for cases without it (augment=paper_drop_modality)"
    problems = without_any_modality(cases, networks)
    required = required_modalities(networks)
    problems |= validate_files(cases, layout, need_segmentation=False, required=required, remedy=remedy)
    valid = {c.case_id: c for c in cases if c.case_id not in problems}
    if not segmentations:  # neither the crop nor anything else of a prediction may depend on one next to the images
        valid = {case_id: dataclasses.replace(c, segmentation=None) for case_id, c in valid.items()}

    if (note := describe_missing(list(valid.values()), networks)) is not None:
        print(note)
    rules = reading_rules(cfg)

    load = partial(_read, cases=valid, rules=rules)
    files = {case_id: source_files(c) for case_id, c in valid.items()}
    if "{modality}" not in layout.images:  # dataset.json says which modality a file or volume is
        root = folder.parent if is_list else folder
        files = {case_id: [*paths, *find(root, paths)] for case_id, paths in files.items()}
    reading = {f"data.layout.{key}": getattr(layout, key) for key in ("images", "modalities", "volumes")}
    reading |= {"data.background": rules.background, "data.trust_affine_of": rules.trust_affine_of}
    provenance = {"cases": str(folder.resolve())}
    return CaseSource(list(valid), load, {}, provenance, problems, files, reading)


def reading_rules(cfg: DictConfig) -> ReadingRules:
    """Return how the files of new cases are read; defaults for the keys that a run of an earlier version lacks."""
    from brats_ablate.data.case_reader import ReadingRules
    from brats_ablate.jobs.build import build_scheme

    optional = {key: cfg.data[key] for key in ("background", "trust_affine_of", "spacing") if key in cfg.data}
    return ReadingRules(build_scheme(cfg), **optional)


def _read(case_id: str, cases: Mapping[str, RawCase], rules: ReadingRules) -> PreparedCase:
    from brats_ablate.data.case_reader import read_case

    return read_case(cases[case_id], rules)
