"""What `job=tune` found: the file that `job=predict job.settings=…` reads, and the table that a person reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from brats_ablate.runtime.files import atomic_write
from brats_ablate.tuning.component_grid import PostprocessGrid
from brats_ablate.tuning.nested_cv import TunedSetting
from brats_ablate.tuning.threshold_grid import ThresholdGrid

PAPER_THRESHOLDS = (0.45, 0.4, 0.45)
_PACKAGE = "brats_ablate.inference"


@dataclass(frozen=True)
class TuningResult:
    """The two searches' grids and choices. Scores are mean Dice over WT, TC and ET."""

    predictions: str
    grid: ThresholdGrid
    thresholds: TunedSetting
    rule_grid: PostprocessGrid
    rules: TunedSetting
    connectivity: int
    threshold_means: np.ndarray
    """(folds, combinations) mean Dice without post-processing."""

    @property
    def folds(self) -> int:
        return len(self.thresholds.per_fold)

    def setting(self, fold: int | None) -> dict[str, Any]:
        """The configuration nodes `labels` and `postprocess` of a fold; of cases of no fold with None."""
        combination = self.thresholds.overall if fold is None else self.thresholds.per_fold[fold]
        wt, tc, et = self.grid.combinations[combination]
        rule = self.rules.overall if fold is None else self.rules.per_fold[fold]
        probability, component, total = self.rule_grid.setting(rule)
        below = {"below_probability": probability}
        return {
            "labels": {"_target_": f"{_PACKAGE}.thresholds.RegionThresholds", "wt": wt, "tc": tc, "et": et},
            "postprocess": {
                "_target_": f"{_PACKAGE}.postprocess.Sequential",
                "small_components": {
                    "_target_": f"{_PACKAGE}.postprocess.SmallComponents",
                    "below_voxels": component,
                    **below,
                    "connectivity": self.connectivity,
                },
                "few_voxels": {"_target_": f"{_PACKAGE}.postprocess.FewVoxels", "below_voxels": total, **below},
            },
        }

    def show(self) -> None:
        """Print what was chosen, what it scores out of fold, and how much tuning in fold would have flattered."""
        from rich.console import Console
        from rich.table import Table

        table = Table(title=f"{self.predictions}: mean Dice, settings chosen on the other folds")
        for column in (
            "fold",
            "thresholds WT TC ET",
            "component < , total < , mean <",
            "at 0.5",
            "thresholds",
            "and rules",
        ):
            table.add_column(column, justify="right")
        neutral = self._means_at((0.5, 0.5, 0.5))
        for fold in range(self.folds):
            scores = (self.thresholds.out_of_fold[fold], self.rules.out_of_fold[fold])
            table.add_row(str(fold), *self._words(fold), _four(neutral, fold), *(f"{s:.4f}" for s in scores))
        means = [float(np.mean(s)) for s in (self.thresholds.out_of_fold, self.rules.out_of_fold)]
        table.add_row("mean", "", "", _four(neutral, None), *(f"{m:.4f}" for m in means), end_section=True)
        inside = [float(np.mean(s)) for s in (self.thresholds.in_fold, self.rules.in_fold)]
        table.add_row("in fold", *self._words(None), "", *(f"{m:.4f}" for m in inside))
        table.add_row("optimism", "", "", "", f"{self.thresholds.optimism:+.4f}", f"{self.rules.optimism:+.4f}")
        console = Console()
        console.print(table)
        paper = self._means_at(PAPER_THRESHOLDS)
        if paper is not None:
            console.print(f"the paper's thresholds without rules: {paper.mean():.4f}")

    def _words(self, fold: int | None) -> tuple[str, str]:
        combination = self.thresholds.overall if fold is None else self.thresholds.per_fold[fold]
        probability, component, total = self.rule_grid.setting(
            self.rules.overall if fold is None else self.rules.per_fold[fold]
        )
        return " ".join(f"{t:g}" for t in self.grid.combinations[combination]), f"{component}, {total}, {probability:g}"

    def _means_at(self, combination: tuple[float, float, float]) -> np.ndarray | None:
        """(folds,) mean Dice at one combination; None if the grid has it not."""
        if combination not in self.grid.combinations:
            return None
        return self.threshold_means[:, self.grid.combinations.index(combination)]


def write_settings(file: Path, tuned: TuningResult) -> None:
    """Write the settings for `job=predict job.settings=<file>`, whole or not at all."""
    content = {
        "all": tuned.setting(None),
        "folds": {fold: tuned.setting(fold) for fold in range(tuned.folds)},
        "mean_dice": {
            "out_of_fold": {"thresholds": _mean(tuned.thresholds.out_of_fold), "rules": _mean(tuned.rules.out_of_fold)},
            "in_fold": {"thresholds": _mean(tuned.thresholds.in_fold), "rules": _mean(tuned.rules.in_fold)},
        },
    }
    head = (
        f"# Written by job=tune job.predictions={tuned.predictions}; used by job=predict job.settings=<this file>.\n"
        "# Each fold's setting was chosen on the other folds; `all` is for cases that belong to no fold.\n"
    )
    with atomic_write(file) as temporary:
        temporary.write_text(head + yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _mean(scores: tuple[float, ...]) -> float:
    return round(float(np.mean(scores)), 6)


def _four(means: np.ndarray | None, fold: int | None) -> str:
    if means is None:
        return ""
    return f"{means.mean() if fold is None else means[fold]:.4f}"
