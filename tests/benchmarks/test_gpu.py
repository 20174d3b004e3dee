"""The check of a GPU node, at its small sizes on a CPU: every stage runs, and one that is killed spares the others."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hardware import needs_fast_cpu
from scaffolding import CommandLine

import gpu
from gpu import STAGES, Process, Run, Stage
from gpu_stages import experiments
from gpu_stages.common import Options, measure

SCRIPT = Path(gpu.__file__)
NAMES = [stage.name for stage in STAGES]


def check_node(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "stepp"], "--only: stepp is no stage; known are: environment, numbers, "),
        (["--prepared", "nowhere"], "--prepared must be a folder of prepared cases; make one with python -m brats_"),
        ([], "--prepared must be a folder of prepared cases"),
    ],
)
def test_a_wrong_command_is_refused_in_one_line(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    assert ended.value.code == 2
    assert f"error: {message}" in capsys.readouterr().err.splitlines()[-1]


def test_results_are_summarized_in_a_line_each() -> None:
    results: dict[str, dict[str, Any]] = {
        "step ours": {"step_ms": 101.23456, "range_ms": "100.00-102.00", "kernels": [1, 2, 3, 4, 5]},
        "numbers": {"ok": True, "fp32": {"logits": 0.000012345}},
        "sizes ds": {"failed": "Traceback:\n  a line\nRuntimeError: no memory\n\n", "wall_s": 3.0},
        "launcher": {"failed": " \n"},
    }
    assert [gpu.summary(result) for result in results.values()] == [
        "step_ms 101.2, range_ms 100.00-102.00",
        "ok True, fp32 {logits 1.234e-05}",
        "FAILED: RuntimeError: no memory; wall_s 3",
        "FAILED",
    ]
    assert gpu.markdown(results).splitlines() == [
        "| Stage | Result |",
        "|---|---|",
        "| step ours | step_ms 101.2, range_ms 100.00-102.00 |",
        "| numbers | ok True, fp32 {logits 1.234e-05} |",
        "| sizes ds | FAILED: RuntimeError: no memory; wall_s 3 |",
        "| launcher | FAILED |",
    ]


def test_a_result_of_several_lines_is_one_row() -> None:
    row = gpu.markdown({"resume": {"said": "epoch 1/2\nloss 5 | 55 s left"}}).splitlines()[2:]
    assert row == ["| resume | said epoch 1/2 loss 5 \\| 55 s left |"]


@pytest.fixture
def options(tmp_path: Path) -> Options:
    options = Options(tmp_path / "prepared", tmp_path, tiny=True)
    options.work.mkdir()
    return options


def test_a_stage_over_its_limit_is_killed_and_the_next_ones_run(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    popen, started = subprocess.Popen, []

    def start(line: list[str], **more: Any) -> subprocess.Popen[bytes]:
        names = [word.rpartition("=/") for word in line[line.index("--stages") + 1 :]]
        code = "import pathlib, time\n"
        for name, _, file in names:
            so_far = gpu.part_of(Path(f"/{file}"))
            hang = f"pathlib.Path('{so_far}').write_text('{{\"batch 1\": 7}}')\ntime.sleep(60)\n"
            code += f"pathlib.Path('/{file}').write_text('{{}}')\n" if name != "hangs" else hang
        started.append(popen([sys.executable, "-c", code], **more))
        return started[-1]

    monkeypatch.setattr(gpu.subprocess, "Popen", start)
    monkeypatch.setattr(gpu, "STAGES", (Stage("first", 30), Stage("hangs", 0.4), Stage("last", 30)))
    run = Run(options, 100, ("first", "hangs", "last"))
    begun = time.monotonic()
    run.all()
    assert time.monotonic() - begun < 20
    written = json.loads((options.out / "results.json").read_text())
    assert list(written) == ["first", "hangs", "last"]
    assert [written[name].get("failed") for name in written] == [None, "killed: over its limit of 2 s", None]
    assert written["hangs"]["batch 1"] == 7
    assert (
        "| hangs | FAILED: killed: over its limit of 2 s; batch 1 7, wall_s "
        in (options.out / "results.md").read_text()
    )
    assert all(process.poll() is not None for process in started)


def test_what_the_budget_does_not_allow_is_skipped(options: Options) -> None:
    run = Run(options, 0, ("environment", "step ours"))
    run.all()
    assert run.results["environment"]["failed"] == "killed: the budget is spent"
    assert run.results["step ours"] == {"skipped": "the budget is spent"}


def test_an_interrupted_check_leaves_no_process_behind(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(process: Process) -> None:
        raise KeyboardInterrupt

    process = Process([Stage("environment", 30)], options, 100)
    monkeypatch.setattr(Process, "new_results", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Run(options, 100, ("environment",)).finish([process])
    assert process.process.returncode == -signal.SIGKILL


def test_the_output_of_a_process_that_ends_early_is_its_reason(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    popen = subprocess.Popen
    monkeypatch.setattr(
        gpu.subprocess, "Popen", lambda line, **more: popen([sys.executable, "-c", "raise KeyError('no card')"], **more)
    )
    process = Process([Stage("step ours", 30), Stage("sizes ds", 30)], options, 100)
    process.process.wait(20)
    ((name, result),) = process.new_results()
    assert name == "step ours"
    assert gpu.summary(result).startswith("FAILED: KeyError: 'no card'; wall_s ")
    assert process.has_ended


def test_only_the_environment_has_a_process_of_its_own(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    def finish(run: Run, processes: list[list[str]]) -> None:
        started.extend(processes)
        run.results |= {name: {} for names in processes for name in names}

    monkeypatch.setattr(gpu, "Process", lambda stages, *others: [stage.name for stage in stages])
    monkeypatch.setattr(Run, "finish", finish)
    Run(options, 100, ("profile ours compiled", "messages")).all()
    Run(options, 100, ("environment", "numbers", "messages")).all()
    assert started == [["profile ours compiled", "messages"], ["environment"], ["numbers"], ["messages"]]


def test_a_value_that_is_no_number_loses_no_other(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"baseline": {"loss": float("nan"), "ms": 3.0}, "ok": False}
    monkeypatch.setitem(sys.modules, "gpu_stages.new", SimpleNamespace(measure=lambda options, words: found))
    request = options.as_request()
    measure("new", request, options.work / "new.json")
    written = json.loads((options.work / "new.json").read_text())
    assert written == {"baseline": {"loss": None, "ms": 3.0}, "ok": False}


def test_runs_of_an_earlier_check_are_not_taken_for_new_ones_and_nothing_else_is_removed(
    options: Options, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier = [options.work / name for name in ("resume_as_usual_straight", "inductor")]
    for folder in (options.prepared, options.out / "work", *earlier):
        folder.mkdir()
    (options.prepared / "cohort.json").touch()
    line = ["gpu.py", "--tiny", "--budget", "0", "--only", "launcher"]
    monkeypatch.setattr(sys, "argv", [*line, "--prepared", str(options.prepared), "--out", str(options.out)])
    monkeypatch.setattr(gpu.signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit):
        gpu.main()
    assert f"{options.work} contains other files than those of an earlier check" in capsys.readouterr().err
    assert all(folder.is_dir() for folder in earlier)
    (options.work / gpu.MARK).touch()
    assert gpu.main() == 0  # the budget is spent
    assert sorted(path.name for path in options.work.iterdir()) == ["inductor", gpu.MARK]
    assert (options.out / "work").is_dir()


def test_experiments_that_would_exceed_the_budget_are_left_out(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(range(0, 10_000, 100))
    monkeypatch.setattr(experiments.time, "time", lambda: next(times))
    measured = {"loss": 1.0, "is_compiled": True}
    monkeypatch.setattr(experiments, "measure_one", lambda options, name, *, compiled: dict(measured))
    result = options.work / "experiments_compiled.json"
    kept = gpu.part_of(result)
    found = experiments.measure(replace(options, tiny=False, until=450.0, result=result), ["compiled"])
    assert found["ok"]
    assert list(found)[1:-1] == ["as_released", "attention"]  # started at 100 and 200 s of 300
    assert json.loads(kept.read_text()) == {key: found[key] for key in ("ok", "as_released", "attention")}
    assert found["left_out"][0] == "attention_as_released"
    measured["is_compiled"] = False
    times = iter(range(0, 10_000, 100))
    assert not experiments.measure(replace(options, tiny=False), ["compiled"])["ok"]


@pytest.mark.slow(minutes=5)
@needs_fast_cpu
def test_every_stage_runs_at_small_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")  # compiling for a CPU says nothing about a GPU and takes minutes
    data = ("data=phantom", "data.phantom.cases=6", "data.phantom.shape=[32,32,24]", "data.n_folds=3")
    shape = ("patches.shape=[16,16,16]", "encoder.channels=[8,8,16,16]")
    prepared = CommandLine(tmp_path, environment={"BRATS_ABLATE_WORK": str(tmp_path)}).run("job=prepare", *data, *shape)
    assert prepared.returncode == 0, prepared.stdout
    done = check_node(
        "--tiny", "--prepared", tmp_path / "phantom" / "prepared", "--out", tmp_path / "gpu", "--budget", "1500"
    )
    results = json.loads((tmp_path / "gpu" / "results.json").read_text())
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(results) == NAMES
    assert [name for name, result in results.items() if "failed" in result] == []
    skipped = {name: result["skipped"] for name, result in results.items() if "skipped" in result}
    assert set(skipped.values()) <= {"dynamic-network-architectures is not installed"}
    sizes = [result for name, result in results.items() if name.startswith("sizes ")]
    assert [result["batch 2"]["is_compiled"] for result in sizes] == [False, False]  # on a CPU
    assert len((tmp_path / "gpu" / "results.md").read_text().splitlines()) == 2 + len(NAMES)
