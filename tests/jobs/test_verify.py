from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from brats_ablate.errors import DataError
from brats_ablate.runs.directory import RunDirectory
from brats_ablate.runs.state import RunState

Job = Callable[..., None]
FinishedRun = Callable[..., RunDirectory]


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 16
    file.write_bytes(content)


def write_cases(run: RunDirectory) -> RunDirectory:
    for epoch in (1, 2):
        run.append_cases(epoch, [{"case": "a", "WT": 0.5, "TC": 0.5, "ET": 0.5}])
    return run


def test_an_intact_study(job: Job, finished_run: FinishedRun, capsys: pytest.CaptureFixture[str]) -> None:
    for fold in range(2):
        write_cases(finished_run("+experiment=baseline", f"fold={fold}"))
    job("job=verify")
    assert "no damage in 6 prepared cases, 2 runs, 4 checkpoints, 0 saved probabilities" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["metrics.jsonl", "cases.jsonl"])
def test_a_lost_end_of_the_records_is_found(
    job: Job, finished_run: FinishedRun, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    file = write_cases(finished_run("+experiment=baseline")).path / name
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(DataError, match=r"^1 file is damaged"):
        job("job=verify")
    assert f"{file} is damaged" in capsys.readouterr().out


@pytest.mark.slow
def test_every_kind_of_damage_is_listed(
    job: Job, finished_run: FinishedRun, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [write_cases(finished_run("+experiment=baseline", f"fold={f}", dice=(0.5,))) for f in range(3)]
    job("+experiment=baseline", "job=predict", "job.probabilities=true", "inference=sliding_window_without_tta")
    prepared = work / "phantom" / "prepared"
    intact = prepared.resolve()
    prepared.unlink()
    shutil.copytree(intact, prepared)
    case, other, cut, gone = sorted((prepared / "cases").iterdir())[:4]
    flip(case / "images.b2nd")
    probabilities = work / "phantom" / "predictions" / "baseline" / "probabilities"
    flip(probabilities / f"{other.name}.b2nd")
    (probabilities / f"{cut.name}.json").write_text('{"case_id": ')
    (probabilities / f"{gone.name}.json").unlink()
    flip(runs[0].best_checkpoints()[0])
    (runs[1].path / "metrics.jsonl").write_text("garbage\n")
    (runs[2].path / "config.yaml").write_bytes(b"\x00\xff")
    with pytest.raises(
        DataError,
        match=r"^7 files are damaged \(checked: 6 prepared cases, 3 runs, 3 checkpoints, 6 saved probabilities\)",
    ):
        job("job=verify")
    sentences = capsys.readouterr().out
    for file in (case, runs[0].best_checkpoints()[0], runs[1].path / "metrics.jsonl", runs[2].path / "config.yaml"):
        assert str(file) in sentences
    assert f"{other.name}.b2nd is damaged" in sentences
    assert f"{cut.name}.json is damaged; delete it and run the job=predict that wrote it again" in sentences
    assert f"contains no probabilities of {gone.name}; predict with job.probabilities=true" in sentences
    with pytest.raises(DataError, match=r"3 cases are not predicted .*\.json is damaged; delete it"):
        job("job=predict", "job.output=other", "job.reuse=baseline", "+experiment=baseline")


def test_a_finished_run_that_lacks_its_records_or_weights_is_damaged(
    job: Job, finished_run: FinishedRun, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_run("+experiment=baseline", "fold=0")
    imported = finished_run("+experiment=baseline", "fold=1", state=RunState.IMPORTED)
    interrupted = finished_run("+experiment=baseline", "fold=2", state=RunState.INTERRUPTED)
    for each in (run, imported, interrupted):
        (each.path / "metrics.jsonl").unlink()
        shutil.rmtree(each.path / "checkpoints")
    target = work / "phantom" / "imported" / imported.path.relative_to(work / "phantom" / "runs")
    target.parent.mkdir(parents=True)
    imported.path.rename(target)
    with pytest.raises(DataError, match=r"^2 files are damaged \(checked: 6 prepared cases, 3 runs, 0 checkpoints, "):
        job("job=verify")
    assert capsys.readouterr().out.splitlines()[-2:] == [
        f"{run.path} is finished, but has nothing in metrics.jsonl, cases.jsonl, checkpoints; restore it from a copy",
        f"{target} is imported, but has nothing in checkpoints; restore it from a copy",
    ]
