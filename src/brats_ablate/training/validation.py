"""Validation on whole volumes: per-case, per-region Dice of one epoch's network, cases split over the ranks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from brats_ablate.labels import REGIONS
from brats_ablate.training.distributed import DistributedContext

LoadCase = Callable[[str], tuple[Tensor, Tensor]]
Predict = Callable[[Tensor], Tensor]
Score = Callable[[Tensor, Tensor], Tensor]
Watch = Callable[[str, Tensor], None]

PROBABILITY_THRESHOLD = 0.5  # per region, as the paper's validation; tuned thresholds come after training


@dataclass(frozen=True)
class Validation:
    """What it takes to validate: each part handed in, none known here.

    `load`: case id -> volume (1, C, X, Y, Z) and reference region masks (3, X, Y, Z) bool, on the device.
    `predict`: volume -> region probabilities (1, 3, X, Y, Z). `score`: predicted, reference masks -> Dice (3,).
    `watch`: is shown the id and the predicted masks (3, X, Y, Z) bool of every case of this rank.
    """

    case_ids: Sequence[str]
    load: LoadCase
    predict: Predict
    score: Score
    watch: Watch

    def run(
        self, ranks: DistributedContext, stop: Callable[[], bool]
    ) -> tuple[dict[str, float], list[dict[str, Any]], float] | None:
        """Score every case once, each on one rank. A collective.

        Returns:
            None if `stop` said so on any rank before the end. Else the means (`dice` and `dice/<region>`), a row per
            case in the order of `case_ids`, and the seconds taken.
        """
        began = time.perf_counter()
        mine = self.case_ids[ranks.rank :: ranks.world_size]
        rows = []
        with torch.inference_mode():
            for case_id, (volume, reference) in self._prefetched(mine):
                if stop():
                    break
                predicted = self.predict(volume)[0] > PROBABILITY_THRESHOLD
                self.watch(case_id, predicted)
                scores = torch.cat([self.score(predicted, reference), reference[-1].sum().to(torch.float32)[None]])
                *dice, et_voxels = scores.tolist()  # the one transfer to the host per case
                rows.append({"case": case_id, **dict(zip(REGIONS, dice, strict=True)), "ET_reference": int(et_voxels)})
        if any(ranks.any(len(rows) < len(mine))):
            return None
        position = {case_id: i for i, case_id in enumerate(self.case_ids)}
        everyone = [row for part in ranks.gather(rows) for row in part]
        everyone.sort(key=lambda row: position[row["case"]])
        means = {f"dice/{r}": sum(row[r] for row in everyone) / len(everyone) for r in REGIONS}
        return {"dice": sum(means.values()) / len(REGIONS), **means}, everyone, time.perf_counter() - began

    def _prefetched(self, case_ids: Sequence[str]) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
        """Each case, the next one being read meanwhile."""
        with ThreadPoolExecutor(1) as reader:
            coming = [reader.submit(self.load, case_id) for case_id in case_ids[:1]]
            for i, case_id in enumerate(case_ids):
                loaded = coming.pop().result()
                coming += [reader.submit(self.load, following) for following in case_ids[i + 1 : i + 2]]
                yield case_id, loaded
