"""What every part of the benchmark measures with: contenders in turns, one figure a round, medians and spread.

Contenders alternate within each round and the order is reversed from round to round, so that a machine that slows down
or warms up does so for all of them. Ratios are taken round by round: both sides of one lie seconds apart.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Options:
    """What a part is told."""

    work: Path
    """Where cases are made and prepared."""
    cases: Path | None
    """Raw cases in the BraTS 2021 layout; None for made ones."""
    rounds: int
    quick: bool
    """Sizes that only show that the script works."""

    @property
    def patch(self) -> int:
        """Edge of a training patch, in voxels."""
        return 64 if self.quick else 128

    def as_request(self) -> dict[str, Any]:
        """The same as plain data, for a process in another folder."""
        cases = str(self.cases.resolve()) if self.cases else None
        return {"work": str(self.work.resolve()), "cases": cases, "rounds": self.rounds, "quick": self.quick}


@dataclass(frozen=True)
class Row:
    """One contender's figures, one a round."""

    name: str
    values: list[float]
    extra: dict[str, str] = field(default_factory=dict)
    """Further columns of its table."""

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclass(frozen=True)
class Claim:
    """Our figure held against a peer's."""

    text: str
    ours: str
    theirs: str
    at_least: float | None = None
    """The ratio that the project set itself; None where a ratio is only of interest."""


@dataclass(frozen=True)
class Table:
    """One thing measured for several contenders."""

    title: str
    unit: str
    rows: list[Row]
    claims: list[Claim] = field(default_factory=list)
    more_is_better: bool = False
    note: str = ""

    def ratios(self, claim: Claim) -> list[float]:
        """By which factor ours is better, round by round; a single figure for either side counts in every round."""
        ours, theirs = (self._values(name) for name in (claim.ours, claim.theirs))
        rounds = max(len(ours), len(theirs))
        pairs = [(ours[i % len(ours)], theirs[i % len(theirs)]) for i in range(rounds)]
        return [o / t if self.more_is_better else t / o for o, t in pairs]

    def _values(self, name: str) -> list[float]:
        return next(row.values for row in self.rows if row.name == name)


def to_json(tables: list[Table]) -> list[dict[str, Any]]:
    """Plain data of `tables`, with the ratio of each claim."""
    return [
        asdict(t)
        | {"claims": [asdict(c) | {"ratio": statistics.median(t.ratios(c)), "ratios": t.ratios(c)} for c in t.claims]}
        for t in tables
    ]


def from_json(content: list[dict[str, Any]]) -> list[Table]:
    """The tables of `to_json`."""
    known = ("text", "ours", "theirs", "at_least")
    return [
        Table(
            **t
            | {
                "rows": [Row(**row) for row in t["rows"]],
                "claims": [Claim(**{key: c[key] for key in known}) for c in t["claims"]],
            }
        )
        for t in content
    ]


def cpu_seconds(work: Callable[[], object]) -> Callable[[], float]:
    """`work` as a contender whose figure is the CPU seconds of this process, all its threads and the kernel's share.

    On one core with files in the page cache they are the seconds of the clock, but other work on the machine does not
    count.
    """

    def measured() -> float:
        started = time.process_time()
        work()
        return time.process_time() - started

    return measured


def alternate(
    contenders: Mapping[str, Callable[[], float]], rounds: int, warm_up: bool = True
) -> dict[str, list[float]]:
    """Each contender's figure of each round."""
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    if warm_up:
        for measure in contenders.values():
            measure()
    order = list(contenders)
    for _ in range(rounds):
        for name in order:
            gc.collect()
            figures[name].append(contenders[name]())
        order.reverse()
    return figures


def one_core() -> None:
    """Keep this process, whatever threads it starts, on one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def isolated(script: str, request: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The answer of `benchmarks/<script>` in a process of its own: allocator, memory and compiled kernels are its own.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    command = [sys.executable, "-m", script, json.dumps(request)]
    done = subprocess.run(
        command, cwd=HERE, env=os.environ | dict(environment or {}), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{script} {json.dumps(request)} failed:\n{done.stderr[-3000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def answer(measure: Callable[..., Mapping[str, Any]]) -> None:
    """The other side of `isolated`."""
    print(json.dumps(measure(**json.loads(sys.argv[1]))))


def resident_gib() -> float:
    """The most memory that this process held so far."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
