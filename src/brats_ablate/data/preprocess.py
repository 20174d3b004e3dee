"""Preprocess a raw data set into a store: in parallel, atomic per case, resumable, idempotent.

Invalid cases are reported with their reason; the others are written. Each case is written to a temporary folder and
renamed, so a kill loses at most the cases in progress. A second call does only what is missing.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from brats_ablate.cases import RawCase
from brats_ablate.data import blosc2_io, dataset_json, folds, store, validation
from brats_ablate.data.case_list import read_list
from brats_ablate.data.case_reader import ReadingRules, read_case
from brats_ablate.data.cohort_summary import cohort_summary
from brats_ablate.data.layouts import Layout
from brats_ablate.data.raw_cases import find_cases
from brats_ablate.data.up_to_date import case_folder, channels_of, is_up_to_date, recorded, sources_of
from brats_ablate.data.validation import Problem
from brats_ablate.errors import DataError
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.runtime import files
from brats_ablate.runtime.locks import lock_file, try_lock
from brats_ablate.runtime.progress import ProgressBar
from brats_ablate.runtime.workers import process_map

PROBLEMS = "problems.csv"


@dataclass(frozen=True)
class PreprocessingSummary:
    """Result of one call of `preprocess_dataset`."""

    cases: int
    """In the cohort now."""
    written: int
    """Written by this call; the others were already up to date."""
    problems: Mapping[str, str]
    """Case id -> reason, of the invalid cases."""
    fingerprint: str
    mebibytes: float
    seconds: float
    about: Sequence[str] = ()
    """Lines about the whole cohort."""
    fitting: Sequence[str] = ()
    """Label schemes that have all values of the cohort, where that of this call does not."""


def preprocess_dataset(
    raw: Path,
    prepared: Path,
    *,
    name: str,
    layout: Layout,
    labels: LabelScheme,
    known: Sequence[LabelScheme] = (),
    known_layouts: Mapping[str, Layout] | None = None,
    n_folds: int = 5,
    fold_seed: int = 12345,
    workers: int | None = None,
    require_segmentation: bool = True,
    trust_convention: bool = False,
    background: str | float = "auto",
    trust_affine_of: str | None = None,
    spacing: Sequence[float] | None = None,
    patient: str | None = None,
    listed: Path | None = None,
) -> PreprocessingSummary:
    """Preprocess the data set `raw` into the folder `prepared`; its problems are also written to `problems.csv`.

    The folds are frozen in `folds.json` at the first call that succeeds. `workers` is a number of processes, None for
    one per available core. Unless `require_segmentation`, a case without one is valid and stored for prediction only.
    `labels` is the scheme of the files, `known` those to suggest where it does not fit.
    `trust_convention` skips the plausibility check of the cohort's labels. `background`, `trust_affine_of` and
    `spacing`: see `ReadingRules`. `patient`: see `folds.with_patients`. `listed` is a file of cases that replaces the
    search for them (`case_list.read_list`).

    Raises:
        DataError: no case is valid, the frozen folds contain different cases, the labels look like a different
            convention, the disk is full, a worker was killed, or another call is running in the same folder.
    """
    started = time.monotonic()
    rules = ReadingRules(labels, background, trust_affine_of, None if spacing is None else tuple(spacing))
    if listed is None:
        cases = find_cases(raw, layout, need_segmentation=require_segmentation, known=known_layouts)
    else:
        cases = read_list(listed, layout)
    if patient is not None:
        cases = folds.with_patients(cases, patient)
    problems = validation.validate_files(cases, layout, need_segmentation=require_segmentation)
    if not trust_convention:
        validation.check_case_ids([c.case_id for c in cases], labels, known)
        for path in _declarations(raw, listed, cases):
            dataset_json.check_labels(path, labels, known)
    with _locked(prepared):
        in_folds = [c for c in cases if require_segmentation or c.segmentation]
        frozen = folds.frozen_or_drawn(prepared / store.FOLDS, in_folds, n_folds, fold_seed)
        complete = [c for c in cases if c.case_id not in problems]
        todo = [c for c in complete if not is_up_to_date(prepared, c, rules)]
        found = _preprocess_cases(todo, prepared, rules, workers)
        problems |= {case_id: problem.reason for case_id, problem in found.items()}
        with open(prepared / PROBLEMS, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("case", "reason"), *sorted(problems.items())])
        valid = sorted(c.case_id for c in complete if c.case_id not in problems)
        described = [json.loads((case_folder(prepared, c) / "case.json").read_bytes()) for c in valid]
        values = {value for problem in found.values() for value in problem.values}
        values |= {labels.file_values[blob[0] - 1][0] for d in described for blob in d["record"]["blobs"]}
        unknown = {case_id: problem.reason for case_id, problem in sorted(found.items()) if problem.values}
        fitting = validation.fitting_schemes(values, [c.case_id for c in cases], known) if unknown else []
        if not valid:
            case_id, reason = next(iter(sorted(problems.items())))
            raise DataError(
                f"none of the {len(problems)} cases in {listed or raw} could be prepared; "
                f"{case_id}: {reason}{hint_of(fitting)}"
            )
        if require_segmentation and not any(d["record"]["blobs"] for d in described):
            raise DataError(
                f"no case in {listed or raw} has a labeled voxel: nothing to train on; check the segmentations, or set "
                "job.require_segmentation=false to prepare for prediction"
            )
        if not trust_convention:
            contacts = {d["record"]["case_id"]: d["background_contact"] for d in described}
            try:
                validation.check_plausible(contacts, labels, known)
            except DataError as error:
                (prepared / store.COHORT).unlink(missing_ok=True)
                if not fitting:
                    raise
                # A scheme that has all values says more than where tissues lie in the cases without the others.
                case_id, reason = next(iter(unknown.items()))
                raise DataError(
                    f"{len(unknown)} of {len(cases)} cases in {listed or raw} could not be prepared; {case_id}: "
                    f"{reason}{hint_of(fitting)}"
                ) from error
        if not (prepared / store.FOLDS).exists():  # the remedy of an invalid set can change its cases
            files.write_json(prepared / store.FOLDS, frozen)
        content_hashes = {d["record"]["case_id"]: d["record"]["content"] for d in described}
        cohort = store.Cohort(name, layout.name, labels, tuple(layout.modalities), content_hashes, rules.spacing)
        store.write_cohort(prepared, cohort, [d["record"] for d in described], frozen["validation"])
    return PreprocessingSummary(
        cases=len(valid),
        written=sum(c.case_id not in problems for c in todo),
        problems=problems,
        fingerprint=cohort.fingerprint,
        mebibytes=sum(f.stat().st_size for c in valid for f in case_folder(prepared, c).iterdir()) / 2**20,
        seconds=time.monotonic() - started,
        about=cohort_summary(described, labels),
        fitting=fitting,
    )


def _declarations(raw: Path, listed: Path | None, cases: Sequence[RawCase]) -> list[Path]:
    """Return the JSON files that may say what the labels of the cases mean."""
    if listed is None:
        return dataset_json.find(raw, [path for case in cases for path, _ in case.images.values()])
    return [listed] if listed.suffix == ".json" else []


def hint_of(fitting: Sequence[str]) -> str:
    """Return the end of a sentence about label values, with the schemes that have all of the cohort's."""
    return f"; the values of all cases fit labels={' or labels='.join(fitting)}" if fitting else ""


def preprocess_case(raw: RawCase, prepared: Path, rules: ReadingRules) -> Problem | None:
    """Preprocess one case, in a worker process; return None, or why the case is invalid.

    Raises:
        OSError: the store cannot be written, which ends the whole call.
    """
    try:
        sources = sources_of(raw)
        case = read_case(raw, rules)
    except DataError as error:
        return Problem.of(error)
    except MemoryError:
        return Problem("the case does not fit in memory; run again with job.workers=1")
    contact = None if case.labels is None else validation.background_contact(case.labels, rules.labels)
    described = {
        "version": store.VERSION,
        **recorded(rules),
        "sources": sources,
        **channels_of(raw),
        "backgrounds": case.backgrounds,
    }
    described |= {"background_contact": contact, "record": case.record.to_dict()}
    final = case_folder(prepared, raw.case_id)
    # The process id avoids a clash with a worker of a killed call, which can outlive it for a moment.
    temporary = final.with_name(f".{raw.case_id}.{os.getpid()}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        blosc2_io.write_array(temporary / "images.b2nd", case.images, case.record.content_hash)
        if case.labels is not None:
            blosc2_io.write_array(temporary / "labels.b2nd", case.labels, case.record.content_hash)
        if case.reference is not None:
            blosc2_io.write_array(temporary / store.REFERENCE, case.reference, case.record.content_hash)
        (temporary / "case.json").write_text(files.to_json(described) + "\n", encoding="utf-8")
        shutil.rmtree(final, ignore_errors=True)
        os.rename(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return None


def _preprocess_cases(
    cases: list[RawCase], prepared: Path, rules: ReadingRules, workers: int | None
) -> dict[str, Problem]:
    """Preprocess the cases; return the problem of each invalid one by case id."""
    problems = {}
    task = partial(preprocess_case, prepared=prepared, rules=rules)
    try:
        with ProgressBar("preparing", len(cases)) as progress:
            for case, problem in zip(cases, process_map(task, cases, workers=workers), strict=True):
                if problem is not None:
                    problems[case.case_id] = problem
                progress.advance(f"{len(problems)} invalid" if problems else "")
    except OSError as error:
        raise DataError(
            f"{prepared} cannot be written ({error.strerror}); {files.os_error_remedy(error)} "
            "and run the same command again"
        ) from error
    return problems


@contextmanager
def _locked(prepared: Path) -> Iterator[None]:
    """Lock the folder for this call, and remove partial cases of a killed one."""
    with ExitStack() as stack:
        try:
            (prepared / store.CASES).mkdir(parents=True, exist_ok=True)
            is_ours = try_lock(stack.enter_context(lock_file(prepared / ".lock")))
        except OSError as error:
            raise DataError(
                f"{prepared} cannot be written ({error.strerror}); check paths.prepared and its permissions"
            ) from error
        if not is_ours:
            raise DataError(f"another job=prepare is running in {prepared}; wait for it to end")
        for left in (prepared / store.CASES).glob(".*.partial"):
            shutil.rmtree(left, ignore_errors=True)
        yield
