"""Studies with synthetic scores, their HTML report, and a browser that opens it."""

from __future__ import annotations

import base64
import gzip
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scaffolding import CommandLine
from schemes import BRATS2021

from brats_ablate.jobs.calibration import summarize
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.metrics.calibration import reliability
from brats_ablate.runs.directory import Coordinates, RunDirectory, RunRecord
from brats_ablate.runtime.files import finite_or_null, write_json

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
CURVES = "#curve-plot .scatterlayer .js-line"
"""The lines of the figure of the learning curves."""


def write_run(
    runs: Path,
    name: str,
    fold: int,
    shift: float,
    *,
    cases: int = 8,
    epochs: int = 3,
    state: str = "finished",
    labels: LabelScheme = BRATS2021,
    fraction: float | None = None,
) -> None:
    regions = labels.region_names
    run = RunDirectory.at(runs, Coordinates(name, fold, 7e-4, 0))
    run.path.mkdir(parents=True)
    base = np.random.default_rng(fold).uniform(0.5, 0.9, size=(cases, len(regions)))
    best = 0.0
    for epoch in range(1, epochs + 1):
        noise = np.random.default_rng([epoch, fold, round(1000 * abs(shift))]).normal(0, 0.002, base.shape)
        values = np.clip(base + shift - 0.3 / epoch + noise, 0, 1)
        means = dict(zip((f"dice/{region}" for region in regions), values.mean(axis=0).tolist(), strict=True))
        row = {"epoch": epoch, "step": epoch, "loss": 1 / epoch, "seconds": 36.0, "dice": float(values.mean()), **means}
        row |= {"lr": 7e-4 / epoch}
        run.append("metrics.jsonl", [row])
        best = max(best, float(values.mean()))
        rows = zip((f"case<{fold}>{i:03d}" for i in range(cases)), values.tolist(), strict=True)
        run.append(
            "cases.jsonl",
            [
                {"epoch": epoch, "case": c, **dict(zip(regions, v, strict=True)), f"{labels.sized_region}_reference": 9}
                for c, v in rows
            ],
        )
    identity: dict[str, object] = {"model._target_": name, "fold": fold}
    if fraction is not None:
        identity = {"data.fraction": fraction, "fold": fold}
    run.write_manifest(
        {
            "identity": identity,
            "training_cases": round(32 * (fraction or 1)),
            "packages": {"torch": "2.13.0"},
            "data_fingerprint": "abc",
        }
    )
    run.write_status(RunRecord(state, epochs, epochs if state == "finished" else 99, best))


def write_calibration(work: Path, name: str, regions: tuple[str, ...] = ("WT", "TC", "ET")) -> None:
    """The file of job=calibration for two voxels per region, near the tumor .75 and 0, in the brain .25 and 0."""
    truth = np.array([True, False])
    parts = {
        where: dict.fromkeys(regions, reliability(np.array([p, 0], np.float16), truth, 4))
        for where, p in (("brain", 0.25), ("near_tumor", 0.75))
    }
    head = {"predictions": name, "cases": 1, "bins": 4, "margin_mm": 10}
    file = work / "brats21" / "evaluation" / "calibration" / f"{name}.json"
    write_json(file, finite_or_null({**head, **summarize({"case": parts})}))


def make_report(work: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    line = ("job=report", "job.resamples=1000", *overrides)
    return CommandLine(work.parent, environment={"BRATS_ABLATE_WORK": str(work)}, stderr=subprocess.PIPE).run(*line)


def unpacked(page: Path, name: str) -> bytes:
    packed = re.search(rf'<script type="application/gzip" id="{name}">(.*?)</script>', page.read_text())
    return gzip.decompress(base64.b64decode(packed[1]))


@contextmanager
def chromium() -> Iterator[Any]:
    """Start the browser of this machine."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
