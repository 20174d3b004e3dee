"""Shared measuring tools: interleaved candidates, one value per round, medians and ranges.

The candidates are interleaved within each round, and the order is reversed from round to round. A machine that slows down
or warms up then affects all of them. Ratios are taken round by round, so both sides are measured seconds apart.
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
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

HERE = Path(__file__).resolve().parent
Figure = TypeVar("Figure")
NO_TRIM = ", trimming disabled"
"""Suffix of candidates for which glibc does not return freed memory to the kernel."""


@dataclass(frozen=True)
class Options:
    """Options of a part."""

    work: Path
    """Folder for generated and prepared cases."""
    cases: Path | None
    """Raw cases in the BraTS 2021 layout; None for synthetic ones."""
    rounds: int
    quick: bool
    """Use small sizes that only test the script."""

    @property
    def patch(self) -> int:
        """Edge length of a training patch in voxels."""
        return 64 if self.quick else 128

    def as_request(self) -> dict[str, Any]:
        """Return the options as plain data with absolute paths, for a subprocess."""
        cases = str(self.cases.resolve()) if self.cases else None
        return {"work": str(self.work.resolve()), "cases": cases, "rounds": self.rounds, "quick": self.quick}

    @classmethod
    def of_request(cls, work: str, cases: str | None, rounds: int, quick: bool) -> Options:
        """Restore the options of `as_request`."""
        return cls(Path(work), Path(cases) if cases else None, rounds, quick)


@dataclass(frozen=True)
class Row:
    """The values of one candidate, one per round."""

    name: str
    values: list[float]
    extra: dict[str, str] = field(default_factory=dict)
    """Additional columns of the table."""

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclass(frozen=True)
class Comparison:
    """A comparison of one of our rows with another row."""

    text: str
    ours: str
    peer: str


@dataclass(frozen=True)
class Table:
    """One quantity measured for several candidates."""

    title: str
    unit: str
    rows: list[Row]
    comparisons: list[Comparison] = field(default_factory=list)
    more_is_better: bool = False
    note: str = ""

    def ratios(self, comparison: Comparison) -> list[float]:
        """Return the factor by which ours is better in each round. A side with a single value uses it in every round."""
        ours, peer = (self._values(name) for name in (comparison.ours, comparison.peer))
        rounds = max(len(ours), len(peer))
        pairs = [(ours[i % len(ours)], peer[i % len(peer)]) for i in range(rounds)]
        return [o / p if self.more_is_better else p / o for o, p in pairs]

    def _values(self, name: str) -> list[float]:
        return next(row.values for row in self.rows if row.name == name)


def with_and_without_trimming(peer: str, ours: str) -> list[Comparison]:
    """Compare ours, with trimming disabled, with the peer in the same setting and with the default allocator."""
    return [
        Comparison(f"{peer}{NO_TRIM} for both", ours + NO_TRIM, peer + NO_TRIM),
        Comparison(f"{peer}, default allocator (ours: trimming disabled)", ours + NO_TRIM, peer),
    ]


def to_json(tables: list[Table]) -> list[dict[str, Any]]:
    """Convert `tables` to plain data, with the ratio of each comparison."""
    return [
        asdict(t)
        | {
            "comparisons": [
                asdict(c) | {"ratio": statistics.median(t.ratios(c)), "ratios": t.ratios(c)} for c in t.comparisons
            ]
        }
        for t in tables
    ]


def from_json(content: list[dict[str, Any]]) -> list[Table]:
    """Restore the tables of `to_json`."""
    known = ("text", "ours", "peer")
    return [
        Table(
            **t
            | {
                "rows": [Row(**row) for row in t["rows"]],
                "comparisons": [Comparison(**{key: c[key] for key in known}) for c in t["comparisons"]],
            }
        )
        for t in content
    ]


def cpu_seconds(work: Callable[[], object]) -> Callable[[], float]:
    """Wrap `work` as a candidate that returns its CPU seconds: all threads of this process, user and system time.

    On one core with files in the page cache, CPU time equals wall time but excludes other work on the machine.
    """

    def measured() -> float:
        started = time.process_time()
        work()
        return time.process_time() - started

    return measured


def interleave(
    candidates: Mapping[str, Callable[[], Figure]], rounds: int, warm_up: bool = True
) -> dict[str, list[Figure]]:
    """Measure each candidate once per round, in reversed order in every second round."""
    figures: dict[str, list[Figure]] = {name: [] for name in candidates}
    if warm_up:
        for measure in candidates.values():
            measure()
    order = list(candidates)
    for _ in range(rounds):
        for name in order:
            gc.collect()
            figures[name].append(candidates[name]())
        order.reverse()
    return figures


def one_core() -> None:
    """Pin this process and all its threads to one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def run_isolated(
    script: str, request: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run `benchmarks/<script>` in its own process, with its own allocator, memory and compiled kernels.

    Returns:
        The result that the script printed with `print_result`.

    Raises:
        RuntimeError: The script failed. The message ends with its standard error.
    """
    command = [sys.executable, "-m", script, json.dumps(request)]
    done = subprocess.run(
        command, cwd=HERE, env=os.environ | dict(environment or {}), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{script} {json.dumps(request)} failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def interleave_isolated(
    script: str, requests: Mapping[str, Mapping[str, Any]], rounds: int, shown: str
) -> dict[str, list[dict[str, Any]]]:
    """Interleave the `requests` to `script`, each in its own process; print the seconds `shown` of each."""

    def candidate(name: str) -> dict[str, Any]:
        result = run_isolated(script, requests[name])
        print(f"  {name}: {result[shown]:.3f} s", flush=True)
        return result

    return interleave({name: partial(candidate, name) for name in requests}, rounds, warm_up=False)


def print_result(measure: Callable[..., Mapping[str, Any]]) -> None:
    """Run `measure` with the arguments that `run_isolated` passed and print its result as JSON."""
    print(json.dumps(measure(**json.loads(sys.argv[1]))))


def resident_gib() -> float:
    """Return the peak resident memory of this process in GiB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
