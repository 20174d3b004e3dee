"""Validation on whole volumes: per-case, per-region Dice of the current network, cases split over the ranks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.runtime.workers import prefetch
from brats_ablate.training.distributed import DistributedContext

PROBABILITY_THRESHOLD = 0.5
"""Per region, as in the paper's validation; tuned thresholds are applied after training."""


class ValidationResult(NamedTuple):
    """The scores of one validation."""

    means: dict[str, float]
    """`dice` and `dice/<region>`."""
    cases: list[dict[str, Any]]
    """A row per case, in the order of `Validation.case_ids`."""
    seconds: float


@dataclass(frozen=True)
class Validation:
    """Whole-volume validation of `case_ids`."""

    case_ids: Sequence[str]
    labels: LabelScheme
    load: Callable[[str], tuple[Tensor, Tensor]]
    """Case id -> volume (1, C, X, Y, Z) and reference region masks (R, X, Y, Z) bool, on the device."""
    predict: Callable[[Tensor], Tensor]
    """Volume -> region probabilities (1, R, X, Y, Z)."""
    score: Callable[[Tensor, Tensor], Tensor]
    """Predicted and reference masks -> Dice (R,)."""
    on_case: Callable[[str, Tensor], None]
    """Called with id and predicted masks (R, X, Y, Z) bool of every case of this rank."""

    def run(self, ranks: DistributedContext, stop: Callable[[], bool]) -> ValidationResult | None:
        """Score every case once, each on one rank; return None if `stop` is true on any rank. A collective."""
        start = time.perf_counter()
        own_cases = self.case_ids[ranks.rank :: ranks.world_size]
        rows = []
        regions, sized = self.labels.region_names, self.labels.sized_region
        sized_channel = regions.index(sized)
        with torch.inference_mode(), closing(prefetch(self.load, own_cases)) as volumes:
            for case_id, (volume, reference) in zip(own_cases, volumes, strict=True):
                if stop():
                    break
                predicted = self.predict(volume)[0] > PROBABILITY_THRESHOLD
                self.on_case(case_id, predicted)
                scores = torch.cat(
                    [self.score(predicted, reference), reference[sized_channel].sum().to(torch.float32)[None]]
                )
                *dice, voxels = scores.tolist()  # the only transfer to the host per case
                of_region = dict(zip(regions, dice, strict=True))
                rows.append({"case": case_id, **of_region, f"{sized}_reference": int(voxels)})
        if any(ranks.any(len(rows) < len(own_cases))):
            return None
        position = {case_id: i for i, case_id in enumerate(self.case_ids)}
        all_rows = sorted((row for part in ranks.gather(rows) for row in part), key=lambda row: position[row["case"]])
        means = {f"dice/{r}": sum(row[r] for row in all_rows) / len(all_rows) for r in regions}
        averaged = self.labels.averaged_names
        overall = {"dice": sum(means[f"dice/{r}"] for r in averaged) / len(averaged)}
        return ValidationResult(overall | means, all_rows, time.perf_counter() - start)
