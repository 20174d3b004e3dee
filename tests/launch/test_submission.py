from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from brats_ablate.errors import ConfigError
from brats_ablate.launch.submission import (
    Submission,
    active_states,
    is_alive,
    local_submission,
    make_launch_folder,
    read_submission,
    requeued,
    slurm_final_states,
    write_submission,
)
from brats_ablate.runs.state import RunState

FakeCommand = Callable[[str, str], None]

SUBMITTED = Submission("slurm", "12_3", "/logs/12_3", 4, "login")


def test_a_submission_is_read_as_written(tmp_path: Path) -> None:
    submission = replace(SUBMITTED, devices=("2", "GPU-8f6"), requeues=3, requeues_without_progress=2)
    assert read_submission(tmp_path) is None
    write_submission(tmp_path, submission)
    assert read_submission(tmp_path) == submission
    content = json.loads((tmp_path / "launch.json").read_text())
    assert content["fruitless"] == 2  # the name of the file's key
    (tmp_path / "launch.json").write_text(json.dumps(content | {"devices": [2, 3]}))  # as earlier versions wrote it
    assert read_submission(tmp_path) == replace(submission, devices=("2", "3"))


def test_a_local_process_is_active_until_it_ends_even_as_a_zombie(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    submission = local_submission(process.pid, tmp_path, 1, ("0",))
    assert active_states([submission]) == {submission: RunState.RUNNING}
    process.kill()
    deadline = time.monotonic() + 10
    while is_alive(submission) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert active_states([submission]) == {}  # a zombie by now
    process.wait()
    assert active_states([submission]) == {}


def test_a_reused_process_id_and_another_machine_do_not_count(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    submission = local_submission(process.pid, tmp_path, 1, ())
    assert active_states([replace(submission, started="1"), replace(submission, host="elsewhere")]) == {}
    process.communicate(b"\n")


def test_states_of_queued_and_running_jobs(fake_command: FakeCommand) -> None:
    fake_command("squeue", "printf '12_1|RUNNING\n12_2|PENDING\n12_3|COMPLETING\n'")
    states = {s.job: state for s, state in active_states([replace(SUBMITTED, job=f"12_{i}") for i in range(5)]).items()}
    assert states == {"12_1": RunState.RUNNING, "12_2": RunState.QUEUED, "12_3": RunState.RUNNING}


def test_jobs_are_found_by_their_id_whoever_submitted_them(fake_command: FakeCommand, tmp_path: Path) -> None:
    fake_command("squeue", f'echo "$@" > {tmp_path}/line')
    active_states([replace(SUBMITTED, job=job) for job in ("12_1", "12_2", "7")])
    assert (tmp_path / "line").read_text() == "--noheader --array --format=%i|%T --jobs=12,7\n"


def test_a_users_own_filters_hide_no_job(fake_command: FakeCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQUEUE_USERS", "me")
    fake_command("squeue", 'test -n "$SQUEUE_USERS" || echo "7|PENDING"')
    assert active_states([replace(SUBMITTED, job="7")]).popitem()[1] == RunState.QUEUED


def test_a_job_that_slurm_has_forgotten_has_ended(fake_command: FakeCommand) -> None:
    fake_command("squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert active_states([SUBMITTED]) == {}


def test_only_the_owner_can_enter_a_launch_folder(tmp_path: Path) -> None:
    make_launch_folder(tmp_path / "work" / "launch")
    assert (tmp_path / "work" / "launch").stat().st_mode & 0o777 == 0o700
    make_launch_folder(tmp_path / "work" / "launch")
    (tmp_path / "work" / "launch").chmod(0o770)
    with pytest.raises(ConfigError, match=r"hydra\.sweep\.dir=.*launch belongs to another user, or others can write"):
        make_launch_folder(tmp_path / "work" / "launch")


def test_jobs_count_as_active_if_slurm_does_not_answer(fake_command: FakeCommand) -> None:
    fake_command("squeue", "exit 1")
    assert active_states([SUBMITTED]) == {SUBMITTED: None}


def test_a_slow_controller_does_not_answer(fake_command: FakeCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brats_ablate.launch.submission.PATIENCE_S", 0.1)
    fake_command("squeue", "exec /bin/sleep 60")
    fake_command("sacct", "exec /bin/sleep 60")
    assert active_states([SUBMITTED]) == {SUBMITTED: None}
    assert slurm_final_states(["12_3"]) == {}


def test_final_states_come_from_sacct_out_of_memory_from_a_step(fake_command: FakeCommand) -> None:
    jobs = "1|CANCELLED by 1000\n1.batch|CANCELLED\n2|FAILED\n2.0|OUT_OF_MEMORY\n3|COMPLETED\n3.0|COMPLETED\n"
    fake_command("sacct", f"printf '{jobs}'")
    assert slurm_final_states(["1", "2", "3", "4"]) == {"1": "CANCELLED", "2": "OUT_OF_MEMORY", "3": "COMPLETED"}


def test_requeues_without_a_finished_epoch_between_are_counted() -> None:
    submission = SUBMITTED
    for epoch, in_a_row in [(0, 1), (0, 2), (3, 1), (3, 2), (4, 1)]:
        submission = requeued(submission, epoch)
        assert submission.requeues_without_progress == in_a_row
    assert submission.requeues == 5
