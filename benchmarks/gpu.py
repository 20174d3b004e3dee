"""Check a GPU node: is training on it right, and how fast is it beside nnU-Net and MONAI? One command, minutes.

    python benchmarks/gpu.py --prepared work/brats21/prepared --out work/gpu [--budget 300] [--only step …] [--tiny]

Each stage has its own process and its own limit, so a stage that fails or is killed leaves the results of the others.
JSON and Markdown are rewritten after each. Stages that time nothing run side by side, and compile what the timed stages
need; the timed stages follow one by one, the most valuable first, until the budget is spent. `--tiny` runs every stage at
small sizes on any machine, as a test of this script.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

from gpu_stages.common import Options  # noqa: E402  # these paths first, as the package need not be installed

Result = dict[str, Any]
TINY_FACTOR = 5
"""By which the limits are longer at small sizes on a CPU, which compiles slowly."""


@dataclass(frozen=True)
class Stage:
    """A module of `gpu_stages` with its words, e.g. `step ours compiled`."""

    name: str
    limit_s: float
    timed: bool = True


STAGES = (
    Stage("environment", 40),
    Stage("numbers", 150, timed=False),
    Stage("transforms", 90, timed=False),
    Stage("resume", 150, timed=False),
    Stage("step ours compiled", 60),
    Stage("step nnunet compiled", 60),
    Stage("step ours", 40),
    Stage("step nnunet", 40),
    Stage("step monai", 40),
    Stage("step monai compiled", 60),
    Stage("step monai compiled channels_last", 60),
    Stage("step ours unmeasured", 40),
    Stage("step ours native_norm", 40),
    Stage("profile ours compiled", 60),
    Stage("profile ours", 40),
    Stage("profile nnunet compiled", 60),
    Stage("training", 90),
    Stage("training eager", 90),
    Stage("inference", 90),
    Stage("distributed", 90),
    Stage("experiments", 120),
    Stage("sizes", 120),
    Stage("step ours compiled batch=1", 60),
    Stage("step ours compiled batch=4", 60),
    Stage("launcher", 120),
    Stage("messages", 60),
)
COMPILES_ALONE = (
    "step ours compiled",
    "step nnunet compiled",
    "step monai compiled",
    "step monai compiled channels_last",
)
"""Stages that are compiled in advance, while the stages that time nothing run."""


@dataclass
class Run:
    """The stages that are wanted, their results so far, and the time that is left."""

    options: Options
    budget_s: float
    names: tuple[str, ...]
    results: dict[str, Result] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @property
    def left_s(self) -> float:
        return self.budget_s - (time.monotonic() - self.started)

    def all(self) -> None:
        """Run the stages, those that time nothing at the same time."""
        wanted = [stage for stage in STAGES if stage.name in self.names]
        first, rest = wanted[:1], wanted[1:]
        if first and first[0].timed:  # the environment fails at once where a package is missing
            self.finish([self.start(first[0])])
        else:
            rest = wanted
        together = [self.start(stage) for stage in rest if not stage.timed]
        together += [self.start(stage, compile_only=True) for stage in rest if stage.name in COMPILES_ALONE]
        self.finish(together)
        for stage in rest:
            if stage.timed and self.left_s < 15:
                self.record(stage.name, {"skipped": "the budget is spent"})
            elif stage.timed:
                self.finish([self.start(stage)])

    def start(self, stage: Stage, *, compile_only: bool = False) -> Process:
        """Start a stage in a process group of its own."""
        limit = stage.limit_s * (TINY_FACTOR if self.options.tiny else 1)
        return Process(stage.name, self.options, min(limit, max(15.0, self.left_s)), compile_only)

    def finish(self, processes: list[Process]) -> None:
        """Wait for the processes, each until its own limit, and record their results."""
        waiting = list(processes)
        while waiting:
            for process in [p for p in waiting if p.has_ended]:
                waiting.remove(process)
                if not process.compile_only:
                    self.record(process.name, process.result())
            time.sleep(0.1)

    def record(self, name: str, result: Result) -> None:
        """Write all results so far."""
        self.results[name] = result
        ordered = {s.name: self.results[s.name] for s in STAGES if s.name in self.results}
        text = json.dumps(ordered, indent=1, allow_nan=False) + "\n"
        (self.options.out / "results.json").write_text(text, encoding="utf-8")
        (self.options.out / "results.md").write_text(markdown(ordered), encoding="utf-8")
        print(f"{time.monotonic() - self.started:5.0f} s  {name}: {summary(result)}", flush=True)


class Process:
    """A stage that runs."""

    def __init__(self, name: str, options: Options, limit_s: float, compile_only: bool) -> None:
        self.name, self.limit_s, self.compile_only = name, limit_s, compile_only
        file = name.replace(" ", "_") + (".compile" if compile_only else "")
        self.file, self.log = options.out / f".{file}.json", options.out / f".{file}.log"
        self.file.unlink(missing_ok=True)
        request = json.dumps(options.as_request() | {"compile_only": compile_only})
        environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(options.work / "inductor"), "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, __file__, "--stage", name, "--request", request, "--result", str(self.file)]
        self.started = time.monotonic()
        with self.log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def has_ended(self) -> bool:
        """Whether the stage has ended, by itself or because its time is over."""
        if self.process.poll() is None and time.monotonic() - self.started > self.limit_s:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        return self.process.poll() is not None

    def result(self) -> Result:
        """Return what the stage found, or why it found nothing."""
        seconds = {"wall_s": round(time.monotonic() - self.started, 1)}
        if self.file.exists():
            found: Result = json.loads(self.file.read_text(encoding="utf-8"))
            return found | seconds
        if self.process.returncode == -signal.SIGKILL:
            return {"failed": f"killed, after {seconds['wall_s']:.0f} s of {self.limit_s:.0f} s"} | seconds
        return {"failed": self.log.read_text(encoding="utf-8", errors="replace")[-2000:]} | seconds


def summary(result: Result) -> str:
    """Describe a result in one line."""
    if "failed" in result:
        lines = [line for line in str(result["failed"]).splitlines() if line.strip()]
        return f"FAILED: {lines[-1][:200]}" if lines else "FAILED"
    plain = {key: value for key, value in result.items() if not isinstance(value, list)}
    return ", ".join(f"{key} {_plain(value)}" for key, value in plain.items())[:400]


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} {_plain(v)}" for k, v in value.items()) + "}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def markdown(results: dict[str, Result]) -> str:
    """Return the results as a table."""
    rows = [f"| {name} | {summary(result)} |" for name, result in results.items()]
    return "\n".join(["| Stage | Result |", "|---|---|", *rows]) + "\n"


def main() -> int:
    """Run the stages; returns 1 if one failed or found something wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", type=Path, help="prepared cases (job=prepare), three or more")
    parser.add_argument("--out", type=Path, default=Path("work/gpu"), help="folder of results.json and results.md")
    parser.add_argument("--budget", type=float, default=600, help="seconds; what is done by then is kept")
    parser.add_argument("--only", nargs="+", metavar="STAGE", help="stages, by their name or its first word")
    parser.add_argument("--tiny", action="store_true", help="small sizes that only test the script")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    parser.add_argument("--request", help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        from gpu_stages.common import measure

        return measure(arguments.stage, json.loads(arguments.request), arguments.result)
    known = [stage.name for stage in STAGES]
    only = arguments.only or known
    if unknown := [word for word in only if word not in known and word not in {name.split()[0] for name in known}]:
        parser.error(f"--only: {unknown[0]} is no stage; known are: {', '.join(known)}")
    if arguments.prepared is None or not (arguments.prepared / "cohort.json").is_file():
        parser.error("--prepared must be a folder of prepared cases; make one with python -m brats_ablate job=prepare")
    out = arguments.out.resolve()
    (out / "work").mkdir(parents=True, exist_ok=True)
    options = Options(arguments.prepared.resolve(), out, arguments.tiny)
    run = Run(options, arguments.budget, tuple(name for name in known if {name, name.split()[0]} & set(only)))
    run.all()
    return int(any("failed" in result or result.get("ok") is False for result in run.results.values()))


if __name__ == "__main__":
    sys.exit(main())
