"""The page of other studies in a real browser: other labels, one case, a design, fractions, 180 runs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_page import CURVES, chromium, make_report, needs_chromium, unpacked, write_run
from schemes import GLI2024, MEN_RT

from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.report.figures import PICTURE_BYTES
from brats_ablate.runs.directory import Coordinates, RunDirectory, RunRecord


@pytest.fixture(name="browser", scope="module")
def _browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize(("labels", "sized"), [(GLI2024, "ET"), (MEN_RT, "GTV")])
def test_the_page_offers_the_regions_of_the_labels(
    tmp_path: Path, browser: Any, labels: LabelScheme, sized: str
) -> None:
    for name, shift in (("baseline", 0.0), ("ds", 0.05)):
        write_run(tmp_path / "work" / "brats21" / "runs", name, 0, shift, labels=labels)
    assert make_report(tmp_path / "work", f"labels={labels.name}").returncode == 0
    tab = browser.new_page()
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto((tmp_path / "work" / "brats21" / "tables" / "report.html").as_uri())
    tab.wait_for_selector("html[data-drawn=yes]", timeout=60_000)
    offered = tab.locator("#curve-metric option").all_inner_texts()
    assert offered == ["mean Dice", *(f"Dice {region}" for region in labels.regions), "training loss", "learning rate"]
    tab.select_option("#curve-kind", "runs")
    for region in labels.regions:
        tab.select_option("#curve-metric", f"dice/{region}")
        assert tab.locator(CURVES).count() == 2
    tab.select_option("#case-b", "ds")
    assert tab.inner_text("#case-words").startswith("8 cases in both: 8 higher")
    assert tab.locator("#case-table thead th").last.inner_text() == f"{sized} voxels"
    assert tab.locator("#case-table tbody td").last.inner_text() == "9"
    tab.close()
    assert errors == []


@needs_chromium
@pytest.mark.slow
def test_a_study_of_one_case_is_drawn(tmp_path: Path, browser: Any) -> None:
    for name, shift in (("baseline", 0.0), ("ds", 0.05)):
        write_run(tmp_path / "work" / "brats21" / "runs", name, 0, shift, cases=1)
    assert make_report(tmp_path / "work").returncode == 0
    tab = browser.new_page()
    tab.goto((tmp_path / "work" / "brats21" / "tables" / "report.html").as_uri())
    tab.wait_for_selector("html[data-drawn=yes]", timeout=60_000)
    assert tab.locator("[id^=forest]").count() == 0
    assert tab.locator("#dots-demo .point").count() == 2
    assert "one fold does not show run-to-run variability" in tab.inner_text("#summary")
    tab.close()


@needs_chromium
@pytest.mark.slow
def test_interim_scores_are_dotted_curves_and_effects_are_drawn(tmp_path: Path, browser: Any) -> None:
    runs = tmp_path / "work" / "brats21" / "runs"
    factors = {"none": "", "a": "A", "b": "B", "ab": "A, B"}
    for shift, name in enumerate(factors):
        for fold in (0, 1):
            write_run(runs, name, fold, shift / 50)
            interim = {"epoch": 0, "step": 0, "seconds": 9.0, "interim/dice": 0.25}
            RunDirectory.at(runs, Coordinates(name, fold, 7e-4, 0)).append("metrics.jsonl", [interim])
    columns = "".join(f"  - {{title: {name}, experiment: {name}, factors: [{on}]}}\n" for name, on in factors.items())
    sweep = tmp_path / "work" / "brats21" / "tables" / "sweeps" / "design.yaml"
    sweep.parent.mkdir(parents=True)
    sweep.write_text(f"title: Design\nbaseline: none\ncolumns:\n{columns}")
    assert make_report(tmp_path / "work").returncode == 0
    tab = browser.new_page()
    tab.goto((tmp_path / "work" / "brats21" / "tables" / "report.html").as_uri())
    tab.wait_for_selector("html[data-drawn=yes]", timeout=60_000)
    assert tab.locator("main > section").evaluate_all("all => all.map((s) => s.id)")[:2] == ["summary", "table-design"]
    effects = tab.locator("#effects-design .ytick text").all_text_contents()
    assert effects[:3] == ["A", "B", "A × B (interaction)"]
    assert tab.locator("#effects-design .point").count() == len(effects) == 5
    assert tab.evaluate("document.getElementById('curve-plot').data.filter((t) => t.line.dash === 'dot').length") == 4
    assert "Dotted: interim validation" in tab.inner_text("#curve-words")
    tab.close()


@needs_chromium
@pytest.mark.slow
def test_dice_is_drawn_against_the_training_cases(tmp_path: Path, browser: Any) -> None:
    runs = tmp_path / "work" / "brats21" / "runs"
    for fraction, fold in itertools.product((0.25, 0.5, 1.0), (0, 1)):
        write_run(runs, f"ds_{fraction:g}", fold, fraction / 10, fraction=fraction)
    write_run(runs, "focal", 0, 0.1)
    assert make_report(tmp_path / "work", "job.tables=[trained]").returncode == 0
    page = tmp_path / "work" / "brats21" / "tables" / "report.html"
    (curve,) = json.loads(unpacked(page, "data"))["tables"][0]["sizes"]
    assert (curve["title"], curve["cases"], curve["dice"]) == ("ds_1", [8, 16, 32], sorted(curve["dice"]))
    tab = browser.new_page()
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(page.as_uri())
    tab.wait_for_selector("html[data-drawn=yes]", timeout=60_000)
    assert tab.locator("#sizes-trained .point").count() == 3
    assert tab.locator("#sizes-trained .errorbar").count() == 3
    assert tab.locator("#sizes-trained .xtick text").all_text_contents() == ["8", "16", "32"]
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tab.close()
    assert errors == []


@pytest.mark.slow
def test_a_study_of_180_runs_stays_below_the_limit(tmp_path: Path) -> None:
    runs, epochs, names = tmp_path / "work" / "brats21" / "runs", 1000, ("WT", "TC", "ET")
    draw = np.random.default_rng(0)
    columns = ("baseline", "attention", "ds", "residual", "dropblock", "focal", "unetr", "segresnet_vae", "ds_deeper",
               "ds_channels", "ds_onehot", "ds_deeper_channels_onehot")  # fmt: skip
    for name, fold, lr in itertools.product(columns, range(5), (3e-4, 5e-4, 7e-4)):
        run = RunDirectory.at(runs, Coordinates(name, fold, lr, 0))
        run.path.mkdir(parents=True)
        keys = ("dice", *(f"dice/{region}" for region in names), "loss", "lr", "patches_per_second", "seconds")
        values = draw.uniform(size=(epochs, len(keys))).tolist()
        rows = [dict(zip(keys, row, strict=True)) | {"epoch": e, "step": 9 * e} for e, row in enumerate(values, 1)]
        run.append("metrics.jsonl", rows)
        dice = draw.uniform(size=(250, 3)).tolist()
        best = max(rows, key=lambda row: row["dice"])["epoch"]
        run.append(
            "cases.jsonl",
            [{"epoch": best, "case": f"{fold}-{i}", **dict(zip(names, d, strict=True))} for i, d in enumerate(dice)],
        )
        run.write_manifest({"identity": {}})
        run.write_status(RunRecord("finished", epochs, epochs, 0.9))
    assert make_report(tmp_path / "work").returncode == 0
    assert (tmp_path / "work" / "brats21" / "tables" / "report.html").stat().st_size < 5e6 - PICTURE_BYTES * 4 / 3
