"""The sliding window alone: the case and flips of `inference` with a network that returns its input."""

from __future__ import annotations

from dataset import Dataset
from measuring import Comparison, Options, Row, Table
from parts.inference import interleaved, memory

OURS, MONAI = "our sliding window", "MONAI's inferer"
ROUNDS = 9
"""Minimum number of rounds. A round takes a quarter of a second, which other processes easily disturb."""


def measure(options: Options) -> list[Table]:
    """Measure the window: one table."""
    assert Dataset(options).store.case_ids  # prepares the cases before the subprocesses start
    ways = {
        OURS: {"way": "ours", "network": "none", "precision": "fp32"},
        MONAI: {"way": "monai", "network": "none", "precision": "fp32"},
    }
    results = interleaved(ways, options, 1 if options.quick else max(options.rounds, ROUNDS))
    shape = "×".join(str(s) for s in results[OURS][0]["shape"])
    return [
        Table(
            f"Sliding window alone: the same case, 8 flips, a network that returns its input ({shape})",
            "s",
            [Row(name, [r["seconds"] for r in rounds], memory(rounds)) for name, rounds in results.items()],
            [Comparison("MONAI's inferer", OURS, MONAI)],
        )
    ]
