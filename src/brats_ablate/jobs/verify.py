"""`job=verify`: check a whole study for damage. Reads prepared/, runs/ and predictions/, writes nothing.

Every later job checks what it reads itself; this one checks everything at once, for example after a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from brats_ablate.errors import DataError, UserError

Check = Callable[[], object]
_LISTED = 20


def run(cfg: DictConfig) -> None:
    """Print how many cases, runs, checkpoints and predictions were checked, and a sentence for each that is damaged.

    Raises:
        DataError: something is damaged.
    """
    from brats_ablate.runtime.progress import ProgressBar

    kinds = {
        "prepared cases": list(_cases(Path(cfg.paths.prepared))),
        "runs": list(_runs(Path(cfg.paths.runs))),
        "checkpoints": list(_checkpoints(Path(cfg.paths.runs))),
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
        raise DataError(f"{len(problems)} of {counts} are damaged; see the sentences above")
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
    yield from (partial(store.verify, case_id) for case_id in store.case_ids)


def _runs(runs: Path) -> Iterator[Check]:
    from brats_ablate.inference.ensemble import check_configuration
    from brats_ablate.runs.directory import RunDirectory, find_runs

    def check(run: RunDirectory) -> None:
        run.status()
        run.metrics()
        run.case_tables()
        if run.manifest():
            check_configuration(run)

    yield from (partial(check, run) for run in find_runs(runs))


def _checkpoints(runs: Path) -> Iterator[Check]:
    from brats_ablate.runs.directory import find_runs
    from brats_ablate.training.checkpoint import verify

    for run in find_runs(runs):
        for file in (run.last_checkpoint, *run.best_checkpoints()):
            if file.exists():
                yield partial(verify, file)


def _probabilities(predictions: Path) -> Iterator[Check]:
    from brats_ablate.inference.prediction_store import PredictionFolder

    for file in sorted(predictions.glob("*/probabilities/*.b2nd")):
        yield partial(PredictionFolder(file.parents[1]).read_probabilities, file.name.removesuffix(".b2nd"))
