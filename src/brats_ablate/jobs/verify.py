"""`job=verify`: check a whole study for damage. Writes nothing.

Every later job checks what it reads itself; this one checks everything at once, for example after a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from brats_ablate.errors import DataError, UserError

if TYPE_CHECKING:
    from brats_ablate.data.store import CaseStore
    from brats_ablate.runs.directory import RunDirectory

Check = Callable[[], object]
_LISTED = 20


def run(cfg: DictConfig) -> None:
    """Print how many cases, runs, checkpoints and predictions were checked, and a sentence for each that is damaged.

    Raises:
        DataError: something is damaged.
    """
    from brats_ablate.runs.directory import find_runs
    from brats_ablate.runtime.progress import ProgressBar

    runs = [each for folder in (cfg.paths.runs, cfg.paths.imported) for each in find_runs(Path(folder))]
    kinds: dict[str, Sequence[Check]] = {
        "prepared cases": list(_cases(Path(cfg.paths.prepared))),
        "runs": [partial(_check_run, each) for each in runs],
        "checkpoints": list(_checkpoints(runs)),
        "saved probabilities": list(_probabilities(Path(cfg.paths.predictions))),
    }
    problems: list[str] = []
    with ProgressBar("verifying", sum(map(len, kinds.values()))) as progress:
        for checks in kinds.values():
            for check in checks:
                try:
                    check()
                except UserError as error:
                    problems.append(str(error))
                progress.advance(f"{len(problems)} damaged" if problems else "")
    for problem in problems[:_LISTED]:
        print(problem)
    if len(problems) > _LISTED:
        print(f"… and {len(problems) - _LISTED} more")
    counts = ", ".join(f"{len(checks)} {kind}" for kind, checks in kinds.items())
    if problems:
        damaged = f"{len(problems)} files are" if problems[1:] else "1 file is"
        raise DataError(f"{damaged} damaged (checked: {counts}); see the sentences above")
    print(f"no damage in {counts}")


def _cases(prepared: Path) -> Iterator[Check]:
    from brats_ablate.data.store import CaseStore

    if not prepared.is_dir():
        return
    try:
        store = CaseStore(prepared)
    except UserError:
        yield partial(CaseStore, prepared)  # says again why it cannot be opened
        return
    yield from (partial(_check_case, store, case_id) for case_id in store.case_ids)


def _check_case(store: CaseStore, case_id: str) -> None:
    """Check the voxels of a case, and that its own file says of it what the index says."""
    from brats_ablate.cases import CaseMetadata
    from brats_ablate.data.up_to_date import case_folder
    from brats_ablate.runtime.files import read_json, readable

    store.verify(case_id)
    file = case_folder(store.folder, case_id) / "case.json"
    described = read_json(file)
    with readable(file):
        is_same = CaseMetadata.from_dict(described["record"]) == store.record(case_id)
    if not is_same:
        raise DataError(f"{file} is damaged: records.jsonl says otherwise; delete it and run job=prepare again")


def _check_run(run: RunDirectory) -> None:
    """Check the records of a run, and that a finished or imported one has what its state promises."""
    from brats_ablate.inference.ensemble import check_configuration
    from brats_ablate.runs.state import RunState

    status, metrics, tables = run.status(), run.metrics(), run.case_tables()
    run.require_all_epochs(status, metrics)
    run.require_cases(tables, (row["epoch"] for row in metrics if row.get("dice") is not None))
    present = {"metrics.jsonl": bool(metrics), "cases.jsonl": bool(tables)}
    if run.manifest():
        check_configuration(run)
    state = status.state if status else RunState.NOT_STARTED
    if state == RunState.IMPORTED:  # it was not trained here
        present.clear()
    if state in (RunState.FINISHED, RunState.IMPORTED):
        present["checkpoints"] = run.last_checkpoint.exists() or bool(run.best_checkpoints())
        if absent := [name for name, is_there in present.items() if not is_there]:
            raise DataError(f"{run.path} is {state}, but has nothing in {', '.join(absent)}; restore it from a copy")


def _checkpoints(runs: Iterable[RunDirectory]) -> Iterator[Check]:
    from brats_ablate.training.checkpoint import verify

    for run in runs:
        for file in (run.last_checkpoint, *run.best_checkpoints()):
            if file.exists():
                yield partial(verify, file)


def _probabilities(predictions: Path) -> Iterator[Check]:
    from brats_ablate.inference.prediction_store import PredictionFolder

    for file in sorted(predictions.glob("*/probabilities/*.b2nd")):
        yield partial(PredictionFolder(file.parents[1]).read_probabilities, file.name.removesuffix(".b2nd"))
