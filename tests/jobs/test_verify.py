from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from brats_ablate.errors import DataError
from brats_ablate.runs.directory import RunDirectory

Job = Callable[..., None]
FinishedRun = Callable[..., RunDirectory]


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 16
    file.write_bytes(content)


def test_an_intact_study(job: Job, finished_run: FinishedRun, capsys: pytest.CaptureFixture[str]) -> None:
    for fold in range(2):
        finished_run("+experiment=baseline", f"fold={fold}")
    job("job=verify")
    assert "no damage in 6 prepared cases, 2 runs, 4 checkpoints, 0 saved probabilities" in capsys.readouterr().out


@pytest.mark.slow
def test_every_kind_of_damage_is_listed(
    job: Job, finished_run: FinishedRun, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [finished_run("+experiment=baseline", f"fold={fold}", dice=(0.5,)) for fold in range(3)]
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
    with pytest.raises(DataError, match=r"7 of 6 prepared cases, 3 runs, 3 checkpoints, 6 saved probabilities are dam"):
        job("job=verify")
    sentences = capsys.readouterr().out
    for file in (case, runs[0].best_checkpoints()[0], runs[1].path / "metrics.jsonl", runs[2].path / "config.yaml"):
        assert str(file) in sentences
    assert f"{other.name}.b2nd is damaged" in sentences
    assert f"{cut.name}.json is damaged; delete it and run the job=predict that wrote it again" in sentences
    assert f"contains no probabilities of {gone.name}; predict with job.probabilities=true" in sentences
    with pytest.raises(DataError, match=r"3 cases are not predicted .*\.json is damaged; delete it"):
        job("job=predict", "job.output=other", "job.reuse=baseline", "+experiment=baseline")
