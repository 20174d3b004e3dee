"""The sliding window alone: the same case and flips as `inference`, around a network that returns its input."""

from __future__ import annotations

from material import Material
from measuring import Claim, Options, Row, Table
from parts.inference import in_turns, memory

OURS, MONAI = "our window", "MONAI's inferer"
ROUNDS = 9
"""At least: a round takes a quarter of a second, which other processes easily disturb."""


def measure(options: Options) -> list[Table]:
    """One table."""
    assert Material(options).store.case_ids  # prepared before the first process asks for it
    ways = {
        OURS: {"way": "ours", "network": "none", "precision": "fp32"},
        MONAI: {"way": "monai", "network": "none", "precision": "fp32"},
    }
    found = in_turns(ways, options, 1 if options.quick else max(options.rounds, ROUNDS))
    shape = "×".join(str(s) for s in found[OURS][0]["shape"])
    return [
        Table(
            f"The window alone: the same case, 8 flips, a network that returns its input ({shape})",
            "s",
            [Row(name, [a["seconds"] for a in answers], memory(answers)) for name, answers in found.items()],
            [Claim("MONAI's inferer", OURS, MONAI, 1.0)],
        )
    ]
