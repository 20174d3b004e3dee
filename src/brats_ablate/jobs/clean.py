"""`job=clean`: list, and on request delete, the files of finished runs that no job reads. Imports no torch."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import takewhile
from operator import attrgetter
from pathlib import Path

from omegaconf import DictConfig

from brats_ablate.errors import RunFailed, Unreadable, UserError
from brats_ablate.launch.submission import read_submission
from brats_ablate.runs.directory import RunDirectory, find_runs
from brats_ablate.runs.disk import SizedFile, files_in, files_of_run
from brats_ablate.runtime.text import align, format_size

RESUME, LOGS, INCOMPLETE = "resume checkpoints (last.pt)", "launch logs", "incomplete files"
_JOB = re.compile(r"\d+(_\d+)?")
_SUBMITIT = re.compile(r"submitted\.pkl|submission\.sh|(\d+_)?(log\.(out|err)|result\.pkl)")


def run(cfg: DictConfig, *, delete: bool) -> None:
    """Print number and size of the files that can be deleted, by kind; `delete` deletes them.

    Raises:
        UserError: a file cannot be deleted; all others are.
    """
    runs = find_runs(Path(str(cfg.paths.runs)).absolute())
    totals: dict[str, list[int]] = {kind: [] for kind in (RESUME, LOGS, INCOMPLETE)}
    refused: list[OSError] = []
    finished = 0
    launches = LaunchFolders(Path(str(cfg.paths.work)) / "launches")
    for each in runs:
        if not _is_finished(each):
            continue
        finished += 1
        for kind, files in unneeded_files(each, launches).items():
            totals[kind] += _delete(each, files, refused) if delete else (file.size for file in files)
    print(f"{finished} of {len(runs)} runs in {cfg.paths.runs} are finished; {'deleted' if delete else 'not needed'}:")
    print(align([[f"  {kind}", f"{len(sizes)} files", format_size(sum(sizes))] for kind, sizes in totals.items()]))
    if refused:
        raise UserError(f"{len(refused)} files could not be deleted, the first: {refused[0]}; ask their owner to")
    if not delete and any(totals.values()):
        print("add job.delete=true to delete them")


class LaunchFolders:
    """Logs of submitted runs. Each folder is listed once, as thousands of runs can share it."""

    def __init__(self, launches: Path) -> None:
        self._launches = launches.resolve()
        self._listed: dict[Path, list[SizedFile]] = {}

    def logs(self, run: RunDirectory) -> list[SizedFile]:
        """Return what submitit left of the run's job; other jobs of the same launch keep theirs.

        `launch.json` may name any folder and job: only submitit's files of a numbered job below `launches` count.
        """
        try:
            submission = read_submission(run.path)
        except Unreadable:  # a record that no job needs of a finished run
            return []
        if submission is None or not _JOB.fullmatch(submission.job):
            return []
        folder = Path(submission.folder).resolve()
        if not folder.is_relative_to(self._launches):
            return []
        if folder not in self._listed:
            self._listed[folder] = sorted(files_in(folder), key=attrgetter("name"))
        files, prefix = self._listed[folder], f"{submission.job}_"
        first = bisect_left(files, prefix, key=attrgetter("name"))
        of_job = takewhile(lambda file: file.name.startswith(prefix), files[first:])
        return [file for file in of_job if _SUBMITIT.fullmatch(file.name.removeprefix(prefix))]


def unneeded_files(run: RunDirectory, launches: LaunchFolders) -> dict[str, list[SizedFile]]:
    """Return the files of a finished run that no job reads, by kind.

    `last.pt` is kept where no best checkpoint exists, as of a run that was never validated.
    """
    files = list(files_of_run(run.path))
    has_best = bool(run.best_checkpoints())
    return {
        RESUME: [file for file in files if has_best and file.path == str(run.last_checkpoint)],
        LOGS: launches.logs(run),
        INCOMPLETE: [file for file in files if file.name.startswith(".") and file.name.endswith(".tmp")],
    }


def _is_finished(run: RunDirectory) -> bool:
    try:
        return run.is_finished() and not run.is_locked()
    except Unreadable:
        return False


def _delete(run: RunDirectory, files: Iterable[SizedFile], refused: list[OSError]) -> Iterator[int]:
    """Delete files of a run while no other process can train it; yield the size of each."""
    try:
        with run.lock(patience_s=0.0):
            for file in files if run.is_finished() else ():
                try:
                    Path(file.path).unlink(missing_ok=True)
                except OSError as error:
                    refused.append(error)
                else:
                    yield file.size
    except RunFailed:  # locked since it was listed
        return
