"""Submission to stand-ins for SLURM's commands; tests/e2e/test_slurm.py runs sweeps on a real SLURM."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from scaffolding import write_run

from brats_ablate.config.check import resolve
from brats_ablate.errors import UserError
from brats_ablate.jobs.execute import execute
from brats_ablate.launch.slurm import launch
from brats_ablate.launch.submission import Submission, local_submission, read_submission, write_submission
from brats_ablate.launch.sweep import SweepRun, as_sweep_run
from brats_ablate.runs.directory import RunDirectory
from brats_ablate.runs.identity import identity
from brats_ablate.runs.state import RunState

FakeCommand = Callable[[str, str], None]
PARAMETERS = {"name": "test", "nodes": 1, "tasks_per_node": 1, "timeout_min": 10}


@pytest.fixture
def sweep_runs(composition: Callable[..., DictConfig], tmp_path: Path) -> list[SweepRun]:
    """Three runs, of which the first is finished."""
    base = composition("data=phantom", "+experiment=baseline", f"paths.runs={tmp_path / 'runs'}")
    merged = [OmegaConf.merge(base, {"fold": fold}) for fold in range(3)]
    sweep_runs = [as_sweep_run(cfg, "") for cfg in merged if isinstance(cfg, DictConfig)]
    write_run(directory(sweep_runs[0]), manifest={"identity": identity(resolve(sweep_runs[0].cfg))})
    return sweep_runs


def directory(each: SweepRun) -> RunDirectory:
    return each.run


def submit(sweep_runs: list[SweepRun], tmp_path: Path, *, wait: bool) -> int:
    return launch(sweep_runs, execute, tmp_path / "logs", PARAMETERS, wait=wait, poll_seconds=0.01)


def test_unfinished_runs_are_submitted_once_as_one_array(
    sweep_runs: list[SweepRun], tmp_path: Path, fake_command: FakeCommand, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_command("srun", "")
    fake_command("squeue", "")
    fake_command("sbatch", f'/bin/cp "$1" {tmp_path}/batch.sh; echo "Submitted batch job 42"')
    assert submit(sweep_runs, tmp_path, wait=False) == 0
    text = capsys.readouterr().out
    assert "2 of 3 runs to do, 1 already finished" in text
    assert "3 runs: 1 already finished, 2 submitted" in text
    submissions = [read_submission(directory(each).path) for each in sweep_runs]
    assert [s and s.job for s in submissions] == [None, "42_0", "42_1"]
    batch = (tmp_path / "batch.sh").read_text()
    assert "--array=0-1" in batch
    assert "--kill-on-bad-exit=1" in batch

    fake_command("squeue", "printf '42_0|RUNNING\\n42_1|PENDING\\n'")
    fake_command("sbatch", "exit 1")
    assert submit(sweep_runs, tmp_path, wait=False) == 0
    text = capsys.readouterr().out
    assert "0 of 3 runs to do, 1 already finished, 2 already queued or running" in text
    assert "3 runs: 1 already finished, 2 queued or running in SLURM" in text


def test_what_is_left_to_others_is_not_called_submitted(
    sweep_runs: list[SweepRun], tmp_path: Path, fake_command: FakeCommand, capsys: pytest.CaptureFixture[str]
) -> None:
    for command, script in ("srun", ""), ("sbatch", "exit 1"), ("squeue", "exit 1"):
        fake_command(command, script)
    runs = [directory(each) for each in sweep_runs]
    write_run(runs[1], RunState.RUNNING, manifest=runs[0].manifest()).path.joinpath("manifest.json").unlink()
    write_submission(runs[1].path, local_submission(os.getpid(), tmp_path, 1, ()))
    runs[2].path.mkdir(parents=True)
    write_submission(runs[2].path, Submission("slurm", "8", str(tmp_path), 1, ""))
    assert submit(sweep_runs, tmp_path, wait=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "running elsewhere" in lines[2]
    assert "SLURM does not answer here, and its job 8 may have the run" in lines[3]
    assert lines[4] == "3 runs: 1 already finished, 1 running elsewhere, 1 queued or running in SLURM"


def test_a_long_sweep_is_cut_into_arrays_that_keep_the_parallelism(
    sweep_runs: list[SweepRun], tmp_path: Path, fake_command: FakeCommand, capsys: pytest.CaptureFixture[str]
) -> None:
    more = [OmegaConf.merge(sweep_runs[0].cfg, {"seed": seed}) for seed in range(1, 6)]
    sweep_runs += [as_sweep_run(cfg, "") for cfg in more if isinstance(cfg, DictConfig)]
    count = tmp_path / "submitted"
    fake_command("srun", "")
    fake_command("squeue", "")
    fake_command("scontrol", "echo 'MaxArraySize            = 3'")
    fake_command("sbatch", f'/bin/cat "$1" >> {count}; echo "Submitted batch job $(/bin/grep -c array= {count})"')
    parameters = {**PARAMETERS, "slurm_array_parallelism": 5}
    assert launch(sweep_runs, execute, tmp_path / "logs", parameters, wait=False, poll_seconds=0.01) == 0
    arrays = [line.split("=")[1] for line in count.read_text().splitlines() if "--array=" in line]
    assert arrays == ["0-2%2", "0-1%2", "0-1%1"]
    submissions = [read_submission(directory(each).path) for each in sweep_runs[1:]]
    assert [s and s.job for s in submissions] == ["1_0", "1_1", "1_2", "2_0", "2_1", "3_0", "3_1"]


@pytest.mark.parametrize("cpus", [None, 8])
def test_srun_gives_each_rank_the_cores_that_sbatch_requests(
    sweep_runs: list[SweepRun], tmp_path: Path, fake_command: FakeCommand, cpus: int | None
) -> None:
    fake_command("srun", "")
    fake_command("squeue", "")
    fake_command("sbatch", f'/bin/cp "$1" {tmp_path}/batch.sh; echo "Submitted batch job 42"')
    parameters = PARAMETERS if cpus is None else {**PARAMETERS, "cpus_per_task": cpus}
    assert launch(sweep_runs, execute, tmp_path / "logs", parameters, wait=False, poll_seconds=0.01) == 0
    lines = (tmp_path / "batch.sh").read_text().splitlines()
    (srun,) = (line for line in lines if line.startswith("srun "))
    assert ("--cpus-per-task=8" in srun) == ("#SBATCH --cpus-per-task=8" in lines) == (cpus == 8)


def test_the_settings_of_a_surrounding_job_are_not_passed_on(
    sweep_runs: list[SweepRun], tmp_path: Path, fake_command: FakeCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = {"SLURM_NTASKS": "8", "SLURM_MEM_PER_NODE": "100", "SBATCH_TIMELIMIT": "1", "SRUN_CPUS_PER_TASK": "2"}
    kept = {"SLURM_CONF": "/etc/slurm.conf", "MY_OWN": "1"}
    for key, value in (theirs | kept).items():
        monkeypatch.setenv(key, value)
    fake_command("srun", "")
    fake_command("squeue", "")
    fake_command("sbatch", f'/usr/bin/env > {tmp_path}/environment; echo "Submitted batch job 42"')
    assert submit(sweep_runs, tmp_path, wait=False) == 0
    environment = dict(line.split("=", 1) for line in (tmp_path / "environment").read_text().splitlines())
    assert not environment.keys() & theirs.keys()
    assert kept.items() <= environment.items()
    assert {key: os.environ[key] for key in theirs} == theirs


def test_waiting_ends_with_the_outcome_of_each_job(
    sweep_runs: list[SweepRun], tmp_path: Path, fake_command: FakeCommand, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_command("srun", "")
    fake_command("squeue", "")
    fake_command("sbatch", 'echo "Submitted batch job 42"')
    fake_command("sacct", "printf '42_0|FAILED\\n42_1|OUT_OF_MEMORY\\n'")
    (tmp_path / "logs" / "42_0").mkdir(parents=True)
    (tmp_path / "logs" / "42_0" / "42_0_0_result.pkl").write_bytes(pickle.dumps(("error", "")))
    (tmp_path / "logs" / "42_0" / "42_0_0_log.err").write_text("brats-ablate: case 7 is damaged; prepare it again\n")
    assert submit(sweep_runs, tmp_path, wait=True) == 1
    text = capsys.readouterr().out
    assert "case 7 is damaged; prepare it again" in text
    assert "out of memory; request more, or lower trainer.batch_size (SLURM: OUT_OF_MEMORY)" in text
    assert text.splitlines()[-1] == "3 runs: 1 already finished, 2 failed"
    assert [status.state for each in sweep_runs if (status := each.status)] == [
        RunState.FINISHED, RunState.FAILED, RunState.FAILED,
    ]  # fmt: skip


def test_jobs_of_a_slurm_that_does_not_answer_are_not_counted_as_queued(
    sweep_runs: list[SweepRun], tmp_path: Path, fake_command: FakeCommand, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_command("srun", "")
    fake_command("sbatch", 'echo "Submitted batch job 42"')
    asked = tmp_path / "asked"
    fake_command("squeue", f"[ -e {asked} ] && exit 0; : > {asked}; exit 1")  # answers from the second time on
    assert submit(sweep_runs, tmp_path, wait=True) == 1
    lines = [line[10:] for line in capsys.readouterr().out.splitlines() if " queued, " in line]
    assert lines == [
        "0 queued, 0 running, 0 finished, 2 unknown, as SLURM does not answer",
        "0 queued, 0 running, 0 finished, 2 failed or interrupted",
    ]


def test_a_refused_submission_names_slurms_reason(
    sweep_runs: list[SweepRun], tmp_path: Path, fake_command: FakeCommand
) -> None:
    fake_command("srun", "")
    fake_command("squeue", "")
    fake_command("sbatch", 'echo "sbatch: error: invalid partition specified: a100" >&2; exit 1')
    with pytest.raises(UserError, match=r"invalid partition specified: a100; correct hydra\.launcher's settings"):
        submit(sweep_runs, tmp_path, wait=True)


def test_a_machine_without_slurm_is_refused(
    sweep_runs: list[SweepRun], tmp_path: Path, fake_command: FakeCommand
) -> None:
    with pytest.raises(UserError, match="submit from a machine that has SLURM's sbatch and srun"):
        submit(sweep_runs, tmp_path, wait=True)
