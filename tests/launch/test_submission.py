from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from brats_ablate.launch import submission as tickets
from brats_ablate.launch.submission import (
    Submission,
    activity,
    local_submission,
    read_submission,
    requeued,
    write_submission,
)

SUBMITTED = Submission("slurm", "12_3", "/logs/12_3", 4, "login")


def fake_command(folder: Path, name: str, output: str, code: int = 0) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\ncat <<'E'\n{output}\nE\nexit {code}\n")
    program.chmod(0o755)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def test_a_ticket_survives_the_disk(tmp_path: Path) -> None:
    ticket = replace(SUBMITTED, devices=(2, 3), requeues=1)
    assert read_submission(tmp_path) is None
    write_submission(tmp_path, ticket)
    assert read_submission(tmp_path) == ticket


def test_a_local_process_is_active_until_it_ends_even_unreaped(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    ticket = local_submission(process.pid, tmp_path, 1, (0,), "")
    assert activity([ticket]) == {ticket: "running"}
    process.kill()
    process.stdin.close()  # type: ignore[union-attr]
    for _ in range(100):
        if not tickets.is_alive(ticket):
            break
        subprocess.run(["sleep", "0.02"], check=True)
    assert activity([ticket]) == {}  # a zombie by now
    process.wait()
    assert activity([ticket]) == {}


def test_a_reused_process_id_and_another_machine_are_not_ours(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    ticket = local_submission(process.pid, tmp_path, 1, (), "")
    assert activity([replace(ticket, started="1"), replace(ticket, host="elsewhere")]) == {}
    process.communicate(b"\n")


def test_slurm_says_what_waits_and_what_runs(commands: Path) -> None:
    fake_command(commands, "squeue", "12_1|RUNNING\n12_2|PENDING\n12_3|COMPLETING")
    found = {t.job: state for t, state in activity([replace(SUBMITTED, job=f"12_{i}") for i in range(5)]).items()}
    assert found == {"12_1": "running", "12_2": "waiting", "12_3": "running"}


def test_a_slurm_that_does_not_answer_counts_as_having_the_job(commands: Path) -> None:
    fake_command(commands, "squeue", "", code=1)
    assert activity([SUBMITTED]) == {SUBMITTED: "waiting"}


def test_ends_come_from_sacct_and_a_step_tells_of_memory(commands: Path) -> None:
    fake_command(
        commands,
        "sacct",
        "1|CANCELLED by 1000\n1.batch|CANCELLED\n2|FAILED\n2.0|OUT_OF_MEMORY\n3|COMPLETED\n3.0|COMPLETED",
    )
    assert tickets.slurm_ends(["1", "2", "3", "4"]) == {"1": "CANCELLED", "2": "OUT_OF_MEMORY", "3": "COMPLETED"}


def test_requeues_without_a_finished_epoch_between_are_counted() -> None:
    ticket = SUBMITTED
    for epoch, fruitless in [(0, 1), (0, 2), (3, 1), (3, 2), (4, 1)]:
        ticket = requeued(ticket, epoch)
        assert ticket.fruitless == fruitless
    assert ticket.requeues == 5
