"""Every file of a run directory in six wrong states: one sentence that names it, and never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from brats_ablate.errors import Unreadable
from brats_ablate.launch.status import collect_statuses
from brats_ablate.launch.submission import Submission, write_submission
from brats_ablate.runs.directory import Coordinates, RunDirectory, RunRecord, find_runs
from brats_ablate.runs.state import RunState

READERS: dict[str, Callable[[RunDirectory], object]] = {
    "status.json": RunDirectory.status,
    "manifest.json": RunDirectory.identity,
    "config.yaml": RunDirectory.config,
    "metrics.jsonl": RunDirectory.metrics,
    "cases.jsonl": RunDirectory.cases,
}
WRONG = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "garbage": lambda content: b"[1, }\n: - x: {\n",
    "binary": lambda content: bytes(range(256)),
    "other": lambda content: b"[1, 2]\n",
}


def finished(runs: Path, fold: int) -> RunDirectory:
    run = RunDirectory.at(runs, Coordinates("ds", fold, 7e-4, 0))
    run.path.mkdir(parents=True)
    run.write_status(RunRecord(RunState.FINISHED, 2, 2, 0.9))
    run.write_manifest({"identity": {"fold": fold}})
    (run.path / "config.yaml").write_text("name: ds\nfold: 0\n")
    run.append("metrics.jsonl", [{"epoch": e, "dice": 0.9, "seconds": 1.0} for e in (1, 2)])
    run.append("cases.jsonl", [{"epoch": 2, "case": "a", "WT": 0.9}])
    return run


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", READERS)
def test_wrong_content_is_named(tmp_path: Path, name: str, wrong: str) -> None:
    run = finished(tmp_path, 0)
    file = run.path / name
    file.write_bytes(WRONG[wrong](file.read_bytes()))
    if name.endswith(".jsonl") and wrong in ("empty", "half"):  # what a killed process leaves
        assert len(READERS[name](run)) < 2  # type: ignore[arg-type]
        return
    if name == "config.yaml" and wrong == "half":
        assert READERS[name](run) != {"name": "ds", "fold": 0}  # `check_configuration` notices it
        return
    with pytest.raises(Unreadable) as error:
        READERS[name](run)
    assert str(error.value).startswith(f"{file} is damaged, or of a later version (")
    assert "; restore it, or delete " in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", READERS)
def test_a_missing_file_is_as_before_the_first_start(tmp_path: Path, name: str) -> None:
    run = finished(tmp_path, 0)
    (run.path / name).unlink()
    assert not READERS[name](run)


def test_keys_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    run = finished(tmp_path, 0)
    write_submission(run.path, Submission("local", "1", "x", 1))
    for name in ("status.json", "launch.json", "manifest.json"):
        content = json.loads((run.path / name).read_text())
        (run.path / name).write_text(json.dumps(content | {"added_later": {"x": [1]}}))
    (status,) = collect_statuses([run])
    assert (status.state, status.best) == (RunState.FINISHED, 0.9)


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", ["status.json", "launch.json"])
def test_status_lists_the_run_and_goes_on(tmp_path: Path, name: str, wrong: str) -> None:
    runs = [finished(tmp_path, fold) for fold in range(3)]
    runs[1].write_status(RunRecord(RunState.FAILED, 1, 2, 0.5, "no more memory\x1b[2J"))
    write_submission(runs[1].path, Submission("local", "1", "x", 1))
    file = runs[1].path / name
    file.write_bytes(WRONG[wrong](file.read_bytes()))
    statuses = collect_statuses(find_runs(tmp_path))
    assert [s.state for s in statuses] == [RunState.FINISHED, RunState.UNREADABLE, RunState.FINISHED]
    assert str(file) in (statuses[1].reason or "")


def test_a_reason_cannot_control_the_terminal(tmp_path: Path) -> None:
    run = finished(tmp_path, 0)
    run.write_status(RunRecord(RunState.FAILED, 1, 2, None, "bad\x1b[2J"))
    status = run.status()
    assert status.reason == "bad[2J"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("metrics.jsonl", "it lacks epoch 1, and the last checkpoint is of epoch 3"),
        ("cases.jsonl", "it lacks the cases of epoch 2"),
    ],
)
def test_a_run_is_not_continued_without_the_records_of_its_earlier_epochs(
    tmp_path: Path, name: str, reason: str
) -> None:
    run = RunDirectory(tmp_path)
    for epoch, dice in ((1, {}), (2, {"dice": 0.9}), (3, {"dice": None}), (4, {"dice": 0.9})):
        run.append("metrics.jsonl", [{"epoch": epoch, **dice}])
        if epoch == 2:
            run.append_cases(epoch, [{"case": "a", "WT": 0.9}])
    assert [row["epoch"] for row in run.rows_to_continue(3)] == [1, 2, 3]  # epoch 4 will be repeated
    (tmp_path / name).unlink()
    with pytest.raises(Unreadable, match=rf"{name} is damaged, or of a later version \({reason}\); restore it, or"):
        run.rows_to_continue(3)
