"""Check a GPU node: is training on it right, and how fast is it beside nnU-Net and MONAI? One command, minutes.

    python benchmarks/gpu.py --prepared work/brats21/prepared --out work/gpu [--budget 300] [--only step …] [--tiny]

Each stage has its own limit, and one that fails or is killed leaves the results of the others: JSON and Markdown are
rewritten after each, and the next ones start in a new process. Stages that time nothing run side by side, while others
compile what the timed stages need. The timed stages follow one by one, the most valuable first, until the budget is
spent. `--tiny` runs every stage at small sizes on any machine, as a test of this script.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

from gpu_stages.common import EXPERIMENTS_S, Options, part_of  # noqa: E402  # these paths first, as nothing may be installed

Result = dict[str, Any]
TINY_FACTOR = 5
"""By which the limits are longer at small sizes on a CPU, which compiles slowly."""
MARK = "of_a_gpu_check"
"""File in the folder of the stages: its other content may be removed."""
SHORTEST_S = 15
"""Seconds of the budget below which nothing is started."""


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
    Stage("resume", 280, timed=False),
    Stage("step ours compiled", 90),
    Stage("step nnunet compiled", 90),
    Stage("step monai compiled", 90),
    Stage("training", 150),
    Stage("step ours", 40),
    Stage("step nnunet", 40),
    Stage("step monai", 40),
    Stage("profile ours compiled", 120),
    Stage("inference", 90),
    Stage("messages", 90),
    Stage("distributed", 90),
    Stage("experiments", EXPERIMENTS_S),
    Stage("sizes ds", 240),
    Stage("sizes ds_deeper_channels_onehot", 240),
    Stage("step ours compiled unpacked", 90),
    Stage("step ours unmeasured", 40),
    Stage("step ours native_norm", 40),
    Stage("step ours compiled batch=1", 90),
    Stage("step ours compiled batch=4", 90),
    Stage("profile nnunet compiled", 120),
    Stage("launcher", 150),
    Stage("experiments compiled", EXPERIMENTS_S),
)
COMPILED = ("step ours compiled", "step nnunet compiled", "step monai compiled", "training")
"""Timed stages that are compiled in advance, while the stages that time nothing run."""


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
        """Run the environment, which fails at once where a package is missing, the stages side by side, and the others."""
        wanted = [stage for stage in STAGES if stage.name in self.names]
        first = [stage for stage in wanted if stage.name == "environment"]
        rest = wanted[len(first) :]
        self.finish([Process(first, self.options, self.left_s)] if first else [])
        side_by_side = [Process([stage], self.options, self.left_s) for stage in rest if not stage.timed]
        in_advance = [stage for stage in rest if stage.name in COMPILED and not self.options.tiny]
        side_by_side += [Process([stage], self.options, self.left_s, compile_only=True) for stage in in_advance]
        self.finish(side_by_side)
        timed = [stage for stage in rest if stage.timed]
        while timed and self.left_s > SHORTEST_S:
            self.finish([Process(timed, self.options, self.left_s)])
            timed = [stage for stage in timed if stage.name not in self.results]
        for stage in timed:
            self.record(stage.name, {"skipped": "the budget is spent"})

    def finish(self, processes: list[Process]) -> None:
        """Wait for the processes, record the result of each stage when it ends, and leave no process behind."""
        waiting = list(processes)
        try:
            while waiting:
                for process in waiting:
                    for name, result in process.new_results():
                        if not process.compile_only:
                            self.record(name, result)
                waiting = [process for process in waiting if not process.has_ended]
                time.sleep(0.1)
        finally:
            for process in waiting:
                process.kill()

    def record(self, name: str, result: Result) -> None:
        """Write all results so far."""
        self.results[name] = result
        ordered = {s.name: self.results[s.name] for s in STAGES if s.name in self.results}
        text = json.dumps(ordered, indent=1, allow_nan=False) + "\n"
        (self.options.out / "results.json").write_text(text, encoding="utf-8")
        (self.options.out / "results.md").write_text(markdown(ordered), encoding="utf-8")
        print(f"{time.monotonic() - self.started:5.0f} s  {name}: {summary(result)}", flush=True)


class Process:
    """A process that measures stages one after the other, until one fails or exceeds its limit."""

    def __init__(self, stages: list[Stage], options: Options, left_s: float, compile_only: bool = False) -> None:
        self.stages, self.options, self.compile_only = list(stages), options, compile_only
        self.has_ended = False
        self.since = time.monotonic()
        self.end = self.since + left_s
        for file in map(self._file, stages):
            file.unlink(missing_ok=True)
            part_of(file).unlink(missing_ok=True)
        request = json.dumps(options.as_request() | {"compile_only": compile_only, "until": time.time() + left_s})
        environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(options.work / "inductor"), "PYTHONUNBUFFERED": "1"}
        if options.tiny and not stages[0].timed:
            environment["OMP_NUM_THREADS"] = "1"  # as several processes share few cores
        files = [f"{stage.name}={self._file(stage)}" for stage in stages]
        self.log = self._file(stages[0]).with_suffix(".log")
        with self.log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [sys.executable, __file__, "--request", request, "--stages", *files],
                env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def _file(self, stage: Stage) -> Path:
        return self.options.work / (stage.name.replace(" ", "_") + (".compile" if self.compile_only else "") + ".json")

    def new_results(self) -> list[tuple[str, Result]]:
        """Return the stages that have ended since the last call, and what they found or why they found nothing."""
        ended = self.process.poll() is not None  # before the files are read, so that none is missed
        found = []
        while self.stages and self._file(self.stages[0]).exists():
            stage = self.stages.pop(0)
            result: Result = json.loads(self._file(stage).read_text(encoding="utf-8"))
            found.append((stage.name, result | self._wall()))
            self.since = time.monotonic()
        if not self.stages or ended:
            self.has_ended = ended or self._ends()
            if self.stages:
                said = self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
                code = self.process.returncode
                reason = said if code > 0 else f"killed by signal {-code}\n{said}"
                found.append(self._failed(reason))
            return found
        limit = self.stages[0].limit_s * (TINY_FACTOR if self.options.tiny else 1)
        now = time.monotonic()
        if now - self.since > limit or now > self.end:
            self.kill()
            why = f"over its limit of {limit:.0f} s" if now <= self.end else "the budget is spent"
            found.append(self._failed(f"killed: {why}"))
            self.has_ended = True
        return found

    def _failed(self, reason: str) -> tuple[str, Result]:
        """Return the current stage with what it had found, and why it found no more."""
        stage = self.stages.pop(0)
        part = part_of(self._file(stage))
        so_far: Result = json.loads(part.read_text(encoding="utf-8")) if part.exists() else {}
        return stage.name, so_far | {"failed": reason} | self._wall()

    def _wall(self) -> Result:
        return {"wall_s": round(time.monotonic() - self.since, 1)}

    def _ends(self) -> bool:
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
        return True

    def kill(self) -> None:
        """Kill the process, if it lives, and what it started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def summary(result: Result) -> str:
    """Describe a result in one line."""
    plain = {key: value for key, value in result.items() if not (isinstance(value, list) and len(value) > 4)}
    failed = plain.pop("failed", None)
    text = " ".join(", ".join(f"{key} {_plain(value)}" for key, value in plain.items()).split())[:400]
    if failed is None:
        return text
    lines = [line for line in str(failed).splitlines() if line.strip()]
    return (f"FAILED: {lines[-1][:200]}" if lines else "FAILED") + (f"; {text}" if text else "")


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} {_plain(v)}" for k, v in value.items()) + "}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def markdown(results: dict[str, Result]) -> str:
    """Return the results as a table."""
    lines = {name: summary(result).replace("|", "\\|") for name, result in results.items()}
    rows = [f"| {name} | {line} |" for name, line in lines.items()]
    return "\n".join(["| Stage | Result |", "|---|---|", *rows]) + "\n"


def _emptied(folder: Path) -> bool:
    """Create the folder of the stages; remove what an earlier check left there, but nothing of anybody else.

    Its finished runs would be skipped, and taken for new ones; Inductor's cache is kept.
    """
    mark = folder / MARK
    if folder.exists() and not mark.exists() and any(folder.iterdir()):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    mark.touch()
    for old in folder.iterdir():
        if old.is_dir() and old.name != "inductor":
            shutil.rmtree(old)
    return True


def main() -> int:
    """Run the stages; returns 1 if one failed or found something wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", type=Path, help="prepared cases (job=prepare), three or more")
    parser.add_argument("--out", type=Path, default=Path("work/gpu"), help="folder of results.json and results.md")
    parser.add_argument("--budget", type=float, default=600, help="seconds; what is done by then is kept")
    parser.add_argument("--only", nargs="+", metavar="STAGE", help="stages, by their name or its first word")
    parser.add_argument("--tiny", action="store_true", help="small sizes that only test the script")
    parser.add_argument("--stages", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--request", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stages:
        from gpu_stages.common import measure

        for stage in arguments.stages:
            name, _, file = stage.rpartition("=/")
            measure(name, json.loads(arguments.request), Path(f"/{file}"))
        return 0
    known = [stage.name for stage in STAGES]
    only = arguments.only or known
    if unknown := [word for word in only if word not in known and word not in {name.split()[0] for name in known}]:
        parser.error(f"--only: {unknown[0]} is no stage; known are: {', '.join(known)}")
    if arguments.prepared is None or not (arguments.prepared / "cohort.json").is_file():
        parser.error("--prepared must be a folder of prepared cases; make one with python -m brats_ablate job=prepare")
    out = arguments.out.resolve()
    options = Options(arguments.prepared.resolve(), out, arguments.tiny)
    if not _emptied(options.work):
        parser.error(
            f"--out: {options.work} contains other files than those of an earlier check; choose another folder"
        )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # as Ctrl-C does
    run = Run(options, arguments.budget, tuple(name for name in known if {name, name.split()[0]} & set(only)))
    run.all()
    return int(any("failed" in result or result.get("ok") is False for result in run.results.values()))


if __name__ == "__main__":
    sys.exit(main())
