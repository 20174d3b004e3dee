"""`job=prepare`: a raw data set to a prepared store; in parallel, atomic per case, resumable, idempotent.

A case that is unfit is named with its reason and the others are done. Each case is written to a temporary folder
and renamed, so a kill at any moment loses at most the cases in progress; a second call does only what is missing.
"""

from __future__ import annotations

import csv
import fcntl
import json
import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brats_ablate.cases import RawCase
from brats_ablate.data import blosc2_io, folds, layouts, records, store, validation
from brats_ablate.data.case_reader import read_case, source_files
from brats_ablate.errors import DataError
from brats_ablate.runtime import files
from brats_ablate.runtime.progress import ProgressBar

PROBLEMS = "problems.csv"


@dataclass(frozen=True)
class PreprocessingSummary:
    """What one call of `prepare_cohort` did."""

    cases: int
    """In the cohort now."""
    written: int
    """Prepared by this call; the others were up to date."""
    problems: Mapping[str, str]
    """Case id to reason, of the cases left out."""
    fingerprint: str
    mebibytes: float
    seconds: float


def preprocess_dataset(
    raw: Path,
    prepared: Path,
    *,
    name: str,
    layout: str,
    convention: str,
    n_folds: int = 5,
    fold_seed: int = 12345,
    workers: int | None = None,
    require_segmentation: bool = True,
    trust_convention: bool = False,
) -> PreprocessingSummary:
    """Prepare the data set `raw` into the folder `prepared`.

    Args:
        raw: folder of the data set, see `layouts.find_cases`.
        prepared: folder of the store; made if need be.
        name: of the data set, recorded.
        layout: of the raw files.
        convention: of the label values; never guessed.
        n_folds: of the cross-validation, frozen in `folds.json` at the first call.
        fold_seed: of its shuffle.
        workers: processes; None for one per available core.
        require_segmentation: whether a case without one is a problem (else it is stored for prediction only).
        trust_convention: skip the plausibility check of the cohort's labels.

    Returns:
        Summary. Its problems are also in `problems.csv`; the caller says whether they are an error.

    Raises:
        DataError: nothing can be prepared, the frozen folds are of other cases, the labels look like another
            convention, the disk is full, a worker was killed, or another call is at work in the same folder.
    """
    started = time.monotonic()
    found = layouts.find_cases(raw, layout, need_segmentation=require_segmentation)
    problems = validation.file_problems(found, need_segmentation=require_segmentation)
    with _locked(prepared):
        _freeze_folds(prepared, [c for c in found if require_segmentation or c.segmentation], n_folds, fold_seed)
        todo: list[RawCase] = []
        done: list[RawCase] = []
        for case in found:
            if case.case_id not in problems:
                (done if _is_current(prepared, case, convention) else todo).append(case)
        problems |= _prepare_all(todo, prepared, convention, workers or len(os.sched_getaffinity(0)))
        _write_problems(prepared, problems)
        good = sorted(c.case_id for c in (*todo, *done) if c.case_id not in problems)
        if not good:
            case_id, reason = next(iter(sorted(problems.items())))
            raise DataError(f"none of the {len(problems)} cases in {raw} could be prepared; {case_id}: {reason}")
        described = [json.loads((_case_folder(prepared, c) / "case.json").read_bytes()) for c in good]
        if not trust_convention:
            _check_convention(prepared, described, convention)
        contents = {d["record"]["case_id"]: d["record"]["content"] for d in described}
        cohort = store.Cohort(name, layout, convention, contents)
        store.write_cohort(prepared, cohort, [d["record"] for d in described])
    return PreprocessingSummary(
        cases=len(good),
        written=sum(c.case_id not in problems for c in todo),
        problems=problems,
        fingerprint=cohort.fingerprint,
        mebibytes=sum(f.stat().st_size for c in good for f in _case_folder(prepared, c).iterdir()) / 2**20,
        seconds=time.monotonic() - started,
    )


def preprocess_case(raw: RawCase, prepared: Path, convention: str) -> str | None:
    """Prepare one case; runs in a worker process. Returns None, or the reason why the case is unfit.

    Raises:
        OSError: the store cannot be written; that is no fault of the case and ends the whole call.
    """
    try:
        sources = _sources(raw)
        case = read_case(raw, convention)
    except DataError as error:
        return str(error)
    except MemoryError:
        return "the case does not fit in memory; run again with job.workers=1"
    contact = None if case.labels is None else validation.background_contact(case.labels)
    described = {
        "version": store.VERSION,
        "convention": convention,
        "sources": sources,
        "background_contact": contact,
        "record": records.to_json(case.record),
    }
    final = _case_folder(prepared, raw.case_id)
    # Named by the process too: a worker of a killed call can live for a moment beside the next call's.
    partial = final.with_name(f".{raw.case_id}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        blosc2_io.write_array(partial / "images.b2nd", case.images, case.record.content)
        if case.labels is not None:
            blosc2_io.write_array(partial / "labels.b2nd", case.labels, case.record.content)
        (partial / "case.json").write_text(json.dumps(described) + "\n", encoding="utf-8")
        shutil.rmtree(final, ignore_errors=True)
        os.rename(partial, final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return None


def _prepare_all(todo: list[RawCase], prepared: Path, convention: str, workers: int) -> dict[str, str]:
    """Prepare the cases, in this process if one worker is enough; returns the problems."""
    problems = {}
    try:
        with ProgressBar("preparing", len(todo)) as progress:
            for case_id, problem in _results(todo, prepared, convention, min(workers, len(todo))):
                if problem is not None:
                    problems[case_id] = problem
                progress.advance(f"{len(problems)} unfit" if problems else "")
    except BrokenProcessPool as error:
        raise DataError(
            "a worker process was killed, probably for want of memory; run the same command again (what is done is "
            "kept), with a smaller job.workers"
        ) from error
    except OSError as error:
        raise DataError(
            f"{prepared} cannot be written ({error.strerror}); {files.os_error_remedy(error)} "
            "and run the same command again"
        ) from error
    return problems


def _results(todo: list[RawCase], prepared: Path, convention: str, workers: int) -> Iterator[tuple[str, str | None]]:
    if workers <= 1:
        for case in todo:
            yield case.case_id, preprocess_case(case, prepared, convention)
        return
    # Spawned, not forked: a fork of a process with threads (a progress bar, a math library) can hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(os.getpid(),))
    try:
        futures = {pool.submit(preprocess_case, case, prepared, convention): case.case_id for case in todo}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(parent: int) -> None:
    """Make a worker end with its parent: after a kill −9 of the parent nothing else would tell it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _case_folder(prepared: Path, case_id: str) -> Path:
    return prepared / store.CASES / case_id


def _sources(raw: RawCase) -> list[list[Any]]:
    """Name, size and time of each raw file: unchanged files need no second preparation."""
    rows: list[list[Any]] = []
    for path in source_files(raw):
        try:
            found = path.stat()
        except OSError as error:
            raise DataError(
                f"{path} cannot be read ({error.strerror}); check that it exists and its permissions"
            ) from error
        rows.append([path.name, found.st_size, found.st_mtime_ns])
    return rows


def _is_current(prepared: Path, raw: RawCase, convention: str) -> bool:
    folder = _case_folder(prepared, raw.case_id)
    try:
        described = json.loads((folder / "case.json").read_bytes())
        current = [described["version"], described["convention"], described["sources"]]
        files = ["images.b2nd", "labels.b2nd"] if described["record"]["has_labels"] else ["images.b2nd"]
        return current == [store.VERSION, convention, _sources(raw)] and all((folder / f).is_file() for f in files)
    except (OSError, ValueError, KeyError, DataError):
        return False


def _freeze_folds(prepared: Path, cases: list[RawCase], n_folds: int, seed: int) -> None:
    """Draw the folds at the first call; afterwards only confirm that they are of the same cases."""
    path = prepared / store.FOLDS
    ids = sorted({c.case_id for c in cases})
    if not path.exists():
        drawn = folds.split(ids, {c.case_id: c.patient_id for c in cases}, n_folds, seed)
        store.replace_file(path, json.dumps({"n_folds": n_folds, "seed": seed, "validation": drawn}, indent=1) + "\n")
        return
    frozen = json.loads(path.read_bytes())
    renew = f"delete {path} for new ones (earlier runs are not comparable then), or set paths.prepared to a new folder"
    if (frozen["n_folds"], frozen["seed"]) != (n_folds, seed):
        raise DataError(
            f"the folds were frozen with data.n_folds={frozen['n_folds']} data.fold_seed={frozen['seed']}; {renew}"
        )
    known = {c for fold in frozen["validation"] for c in fold}
    if known != set(ids):
        added, removed = len(set(ids) - known), len(known - set(ids))
        raise DataError(f"the cases changed since the folds were frozen ({added} added, {removed} removed); {renew}")


def _check_convention(prepared: Path, described: list[dict[str, Any]], convention: str) -> None:
    try:
        validation.check_convention({d["record"]["case_id"]: d["background_contact"] for d in described}, convention)
    except DataError:
        (prepared / store.COHORT).unlink(missing_ok=True)
        raise


def _write_problems(prepared: Path, problems: Mapping[str, str]) -> None:
    with open(prepared / PROBLEMS, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["case", "reason"])
        rows.writerows(sorted(problems.items()))


@contextmanager
def _locked(prepared: Path) -> Iterator[None]:
    """Hold the folder for this call alone, and clear what a killed call left half-written."""
    try:
        (prepared / store.CASES).mkdir(parents=True, exist_ok=True)
        lock = open(prepared / ".lock", "w")  # noqa: SIM115 - held until the with block of the caller ends
    except OSError as error:
        raise DataError(
            f"{prepared} cannot be written ({error.strerror}); check paths.prepared and its rights"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(f"another job=prepare is at work in {prepared}; wait for it to end") from error
        for left in (prepared / store.CASES).glob(".*.partial"):
            shutil.rmtree(left, ignore_errors=True)
        yield
