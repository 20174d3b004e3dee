"""Result of `job=tune`: the file that `job=predict job.settings=…` reads, and the printed table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from brats_ablate.inference.postprocess import Connectivity
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.runtime.files import write_text
from brats_ablate.tuning.component_grid import PostprocessGrid
from brats_ablate.tuning.nested_cv import TunedSetting
from brats_ablate.tuning.threshold_grid import Combination, ThresholdGrid

_PAPER_THRESHOLDS = {"WT": 0.45, "TC": 0.4, "ET": 0.45}
NEUTRAL_THRESHOLD = 0.5
_SCORES = ("at 0.5", "thresholds", "postprocess")
_PACKAGE = "brats_ablate.inference"


@dataclass(frozen=True)
class TuningResult:
    """Grids and choices of the two searches. Scores are mean Dice over the averaged regions."""

    grid: ThresholdGrid
    thresholds: TunedSetting
    postprocess_grid: PostprocessGrid
    postprocess: TunedSetting
    connectivity: Connectivity
    threshold_means: np.ndarray
    """(folds, combinations) mean Dice without post-processing."""
    labels: LabelScheme

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return len(self.thresholds.per_fold)

    def choice(self, fold: int | None) -> tuple[Combination, tuple[float, int, int]]:
        """Return thresholds, and (mean probability, component size, total size), of a fold; of no fold with None."""
        first, second = (s.overall if fold is None else s.per_fold[fold] for s in (self.thresholds, self.postprocess))
        return self.grid.combinations[first], self.postprocess_grid.setting(second)

    def config(self, fold: int | None) -> dict[str, Any]:
        """Return the configuration nodes `labels` and `postprocess` of a fold; of cases of no fold with None."""
        chosen, (probability, component, total) = self.choice(fold)
        of_region = dict(zip((region.lower() for region in self.labels.regions), chosen, strict=True))
        thresholds, steps = f"{_PACKAGE}.thresholds", f"{_PACKAGE}.postprocess"
        small = {"_target_": f"{steps}.SmallComponents", "below_voxels": component, "below_probability": probability}
        few = {"_target_": f"{steps}.FewVoxels", "below_voxels": total, "below_probability": probability}
        both = {"small_components": small | {"connectivity": self.connectivity}, "few_voxels": few}
        postprocess = {"_target_": f"{steps}.Sequential", **both}
        if not self.labels.relabel:
            postprocess = {"_target_": f"{steps}.NoPostprocess"}
        return {
            "labels": {"_target_": f"{thresholds}.RegionThresholds", **of_region},
            "postprocess": postprocess,
        }

    def show(self, name: str) -> None:
        """Print the chosen settings, their out-of-fold scores, and the optimism of in-sample tuning."""
        from rich.console import Console
        from rich.table import Table

        table = Table(title=f"{name}: mean Dice, settings chosen on the other folds")
        for column in ("fold", "/".join(self.labels.regions), "component /total /mean", *_SCORES):
            table.add_column(column, justify="right", overflow="fold")
        scores = (
            self._means_at((NEUTRAL_THRESHOLD,) * len(self.labels.regions)),
            self.thresholds.out_of_fold,
            self.postprocess.out_of_fold,
        )
        for fold in range(self.n_folds):
            cells = ("" if s is None else f"{s[fold]:.4f}" for s in scores)
            table.add_row(str(fold), *self._choice_cells(fold), *cells)
        table.add_row("mean", "", "", *("" if s is None else f"{np.mean(s):.4f}" for s in scores), end_section=True)
        in_sample = (self.thresholds.in_sample, self.postprocess.in_sample)
        table.add_row("in-sample", *self._choice_cells(None), "", *(f"{np.mean(s):.4f}" for s in in_sample))
        table.add_row("optimism", "", "", "", f"{self.thresholds.optimism:+.4f}", f"{self.postprocess.optimism:+.4f}")
        console = Console()
        console.print(table)
        paper = self._means_at(tuple(_PAPER_THRESHOLDS.get(region, -1) for region in self.labels.regions))
        if paper is not None:
            console.print(f"the paper's thresholds without post-processing: {paper.mean():.4f}")

    def _choice_cells(self, fold: int | None) -> tuple[str, str]:
        thresholds, (probability, component, total) = self.choice(fold)
        return "/".join(f"{t:g}" for t in thresholds), f"{component}/{total}/{probability:g}"

    def _means_at(self, thresholds: Combination) -> np.ndarray | None:
        """Return (folds,) mean Dice at one combination; None if it is not in the grid."""
        if thresholds not in self.grid.combinations:
            return None
        means: np.ndarray = self.threshold_means[:, self.grid.combinations.index(thresholds)]
        return means


def write_settings(file: Path, result: TuningResult, name: str, data_fingerprint: str) -> None:
    """Write the settings for `job=predict job.settings=<file>`, atomically; `name` is that of the predictions.

    `data_fingerprint` is of the prepared data, whose folds are meant.
    """
    first, second = result.thresholds, result.postprocess
    content = {
        "all": result.config(None),
        "data_fingerprint": data_fingerprint,
        "folds": {fold: result.config(fold) for fold in range(result.n_folds)},
        "mean_dice": {
            "out_of_fold": {"thresholds": _mean(first.out_of_fold), "rules": _mean(second.out_of_fold)},
            "in_fold": {"thresholds": _mean(first.in_sample), "rules": _mean(second.in_sample)},
        },
    }
    head = (
        f"# Written by job=tune job.predictions={name}; used by job=predict job.settings=<this file>.\n"
        "# Each fold's setting was chosen on the other folds; `all` is for cases that belong to no fold.\n"
    )
    write_text(file, head + yaml.safe_dump(content, sort_keys=False))


def _mean(scores: tuple[float, ...]) -> float:
    return round(float(np.mean(scores)), 6)
