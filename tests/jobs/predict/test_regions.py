"""Networks and references must mean the same regions as the labels of the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from brats_ablate.errors import ConfigError
from brats_ablate.runs.directory import RunDirectory

Job = Callable[..., None]
FinishedRun = Callable[..., RunDirectory]


@pytest.mark.slow
def test_a_network_of_other_regions_is_refused(work: Path, job: Job, finished_run: FinishedRun) -> None:
    finished_run("+experiment=baseline", "labels=brats_ped")
    raw = work / "phantom" / "raw"
    with pytest.raises(
        ConfigError,
        match=r"was trained on WT, TC, ET, CC of labels=brats_ped, not on WT, TC, ET, RC of labels=brats2024_",
    ):
        job("+experiment=baseline", "job=predict", f"job.source={raw}", "labels=brats2024_gli")


def test_references_of_other_regions_are_refused(work: Path, job: Job) -> None:
    with pytest.raises(
        ConfigError, match=r"predictions of labels=brats_ped and references of labels=brats2021 have different regions"
    ):
        job("job=evaluate", f"job.predictions={work / 'phantom' / 'raw'}", "job.prediction_labels=brats_ped")
