from __future__ import annotations

import math
from pathlib import Path

from brats_ablate.runs.directory import RunDirectory
from brats_ablate.runs.score import best_epoch


def test_the_best_score_is_of_the_validated_epoch_with_the_highest_mean(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert best_epoch(run.metrics()) == {}
    rows = [(0, 0.9, 0.9), (1, 0.5, 0.1), (2, math.nan, 0.8), (3, 0.6, 0.2), (4, 0.6, 0.3)]
    run.append("metrics.jsonl", [{"epoch": e, "dice": dice, "dice/ET": et} for e, dice, et in rows] + [{"epoch": 5}])
    best = best_epoch(run.metrics())
    assert (best["dice"], best["dice/ET"], best.get("dice/NETC")) == (0.6, 0.2, None)
