"""job=report: the page is one file, has the numbers of the tables, and works in a real browser."""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from schemes import BRATS2021, GLI2024, MEN_RT

import brats_ablate
from brats_ablate.jobs.calibration import summarize
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.metrics.calibration import reliability
from brats_ablate.runs.directory import Coordinates, RunDirectory, RunRecord
from brats_ablate.runtime.files import finite_or_null, write_json

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
CURVES = "#curve-plot .scatterlayer .js-line"
NAMES = ("baseline", "ds", "attention")
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def _write_run(
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


def _write_calibration(work: Path, name: str, regions: tuple[str, ...] = ("WT", "TC", "ET")) -> None:
    """The file of job=calibration for two voxels per region, near the tumor .75 and 0, in the brain .25 and 0."""
    truth = np.array([True, False])
    parts = {
        where: dict.fromkeys(regions, reliability(np.array([p, 0], np.float16), truth, 4))
        for where, p in (("brain", 0.25), ("near_tumor", 0.75))
    }
    head = {"predictions": name, "cases": 1, "bins": 4, "margin_mm": 10}
    file = work / "brats21" / "evaluation" / "calibration" / f"{name}.json"
    write_json(file, finite_or_null({**head, **summarize({"case": parts})}))


def _report(work: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    package = str(Path(brats_ablate.__file__).parents[1])
    environment = os.environ | {"BRATS_ABLATE_WORK": str(work), "PYTHONPATH": package}
    words = [sys.executable, "-m", "brats_ablate", "job=report", "job.resamples=200", *overrides]
    return subprocess.run(words, cwd=work.parent, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(name="page", scope="module")
def _page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of three experiments; one run of `attention` is unfinished and one missing. Two are calibrated."""
    work = tmp_path_factory.mktemp("report") / "work"
    runs = work / "brats21" / "runs"
    for name, shift in zip(NAMES, (0.0, 0.05, 0.0), strict=True):
        for fold in range(5 if name != "attention" else 4):
            state = "running" if name == "attention" and fold == 3 else "finished"
            _write_run(runs, name, fold, shift, state=state)
    pictures = work / "brats21" / "predictions" / "ds" / "pictures"
    pictures.mkdir(parents=True)
    for case in range(8):
        (pictures / f"case<0>{case:03d}.png").write_bytes(PNG)
    for name in ("ds", "attention", "in_no_table"):
        _write_calibration(work, name)
    done = _report(work, "job.paper=true")
    assert done.returncode == 0, done.stderr
    return work / "brats21" / "tables" / "report.html"


def _unpacked(page: Path, name: str) -> bytes:
    packed = re.search(rf'<script type="application/gzip" id="{name}">(.*?)</script>', page.read_text())
    assert packed is not None
    return gzip.decompress(base64.b64decode(packed[1]))


def test_the_page_is_one_file_below_the_limit(page: Path) -> None:
    text = page.read_text()
    assert len(text.encode()) < 5e6
    assert "<!--" not in text
    assert not re.search(r'(?:src|href)="(?!#|data:)', text)
    assert b"plotly.js" in _unpacked(page, "plotly")[:200]


def test_it_has_the_numbers_of_the_tables(page: Path) -> None:
    text = page.read_text()
    assert re.search(r'<b class="better">DS is better than baseline.</b> Δ mean Dice \+0\.0[45]\d+, 95 % CI', text)
    assert re.search(r"Highest mean Dice: DS, 0\.\d{4} over the 3 folds that all have", text)
    assert "Cost: 25m of training in 14 runs." in text
    assert "Missing: 2 folds, 3 variants, 1 unfinished run" in text
    assert "the paper prints 0.9133" in text
    assert "python -m brats_ablate +experiment=attention fold=3,4 -m" in text
    assert "attention fold=3 lr=0.0007 seed=0" in text
    assert '<tr><th scope="row">DS vs baseline</th><td>model._target_</td><td>baseline</td><td>ds</td></tr>' in text
    assert "torch 2.13.0" in text


def test_the_figures_data_are_the_runs(page: Path) -> None:
    data = json.loads(_unpacked(page, "data"))
    assert len(data["curves"]) == 5 + 5 + 4
    assert (data["regions"], data["averaged"], data["sized_region"]) == (["WT", "TC", "ET"], [0, 1, 2], "ET")
    curve = data["curves"][0]
    assert curve["dice"]["epoch"] == curve["training"]["step"] == [1, 2, 3]
    assert curve["training"]["hours"] == [0.01, 0.02, 0.03]
    assert curve["training"]["loss"] == [1, 0.5, pytest.approx(1 / 3, abs=1e-5)]
    assert len(data["cases"]["ids"]) == 40
    assert data["pairs"][0] == ["baseline", "attention"]
    assert next(iter(data["pictures"]["ds"].values())).startswith("data:image/webp;base64,")


def test_it_has_the_calibration_of_every_column_that_has_one(page: Path) -> None:
    data = json.loads(_unpacked(page, "data"))
    assert [column["key"] for column in data["calibration"]] == ["attention", "ds"]
    bins = data["calibration"][0]["voxels"]["near_tumor"]["ET"]
    assert (bins["counts"], bins["confidence"][:3], bins["frequency"]) == (
        [1, 0, 1, 0],
        [0, None, 0.75],
        [0, None, 1, None],
    )
    table = re.search(r'<section id="calibration">.*?</table>', page.read_text())
    assert table is not None
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', table[0])
    cells = [[name, *re.findall(r"<td>(.*?)</td>", row)] for name, row in rows]
    near = ["near the tumor", "1", *["0.1250"] * 3, *[f"{0.25**2 / 2:.4f}"] * 3]
    brain = ["brain", "1", *["0.3750"] * 3, *[f"{0.75**2 / 2:.4f}"] * 3]
    assert cells == [[title, *row] for title in ("Attention", "DS") for row in (near, brain)]


def test_a_calibration_of_other_regions_is_refused(tmp_path: Path) -> None:
    _write_run(tmp_path / "work" / "brats21" / "runs", "ds", 0, 0.0)
    _write_calibration(tmp_path / "work", "ds", ("GTV",))
    done = _report(tmp_path / "work")
    assert done.returncode == 1
    assert "the calibration of ds is of GTV, not of WT, TC, ET; run job=calibration again" in done.stdout + done.stderr


def test_the_figures_data_of_other_labels(tmp_path: Path) -> None:
    for name, shift in (("baseline", 0.0), ("ds", 0.05)):
        _write_run(tmp_path / "work" / "brats21" / "runs", name, 0, shift, labels=GLI2024)
    done = _report(tmp_path / "work", "labels=brats2024_gli")
    assert done.returncode == 0, done.stderr
    page = tmp_path / "work" / "brats21" / "tables" / "report.html"
    data = json.loads(_unpacked(page, "data"))
    assert (data["regions"], data["averaged"], data["sized_region"]) == (["WT", "TC", "ET", "RC"], [0, 1, 2, 3], "ET")
    assert len(data["curves"][0]["dice"]["dice/RC"]) == 3
    assert [len(of_region) for of_region in data["cases"]["dice"]["ds"]] == [8] * 4
    assert "Mean Dice of WT, TC, ET and RC" in page.read_text()
    refused = _report(tmp_path / "work")
    assert refused.returncode == 1
    assert (
        "was scored on WT, TC, ET, RC, not on WT, TC, ET; choose the labels option" in refused.stderr + refused.stdout
    )


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize(("labels", "sized"), [(GLI2024, "ET"), (MEN_RT, "GTV")])
def test_the_page_offers_the_regions_of_the_labels(
    tmp_path: Path, browser: Any, labels: LabelScheme, sized: str
) -> None:
    for name, shift in (("baseline", 0.0), ("ds", 0.05)):
        _write_run(tmp_path / "work" / "brats21" / "runs", name, 0, shift, labels=labels)
    assert _report(tmp_path / "work", f"labels={labels.name}").returncode == 0
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
        _write_run(tmp_path / "work" / "brats21" / "runs", name, 0, shift, cases=1)
    assert _report(tmp_path / "work").returncode == 0
    tab = browser.new_page()
    tab.goto((tmp_path / "work" / "brats21" / "tables" / "report.html").as_uri())
    tab.wait_for_selector("html[data-drawn=yes]", timeout=60_000)
    assert tab.locator("[id^=forest]").count() == 0
    assert tab.locator("#dots-demo .point").count() == 2
    assert "one fold does not show run-to-run variability" in tab.inner_text("#summary")
    tab.close()


@needs_chromium
@pytest.mark.slow
def test_curves_are_the_mean_and_sd_over_folds(page: Path, browser: Any) -> None:
    tab = browser.new_page()
    tab.goto(page.as_uri())
    tab.wait_for_selector("html[data-drawn=yes]", timeout=60_000)
    curves = [c for c in json.loads(_unpacked(page, "data"))["curves"] if c["name"] == "ds"]
    tab.uncheck("#curve-variants input[value=baseline]")
    tab.uncheck("#curve-variants input[value=attention]")
    tab.select_option("#curve-kind", "mean")

    def drawn() -> list[dict[str, Any]]:
        traces = "document.getElementById('curve-plot').data.map((t) => ({x: t.x, y: t.y}))"
        return [{key: np.array(values) for key, values in trace.items()} for trace in tab.evaluate(traces)]

    scores = np.array([c["dice"]["dice"] for c in curves]) / 10_000
    low, high, mean = drawn()
    assert mean["x"].tolist() == [1, 2, 3]
    np.testing.assert_allclose(mean["y"], scores.mean(axis=0))
    np.testing.assert_allclose(high["y"] - low["y"], 2 * scores.std(axis=0, ddof=1))
    tab.select_option("#curve-metric", "loss")
    tab.select_option("#curve-axis", "hours")
    np.testing.assert_allclose(drawn()[-1]["x"], [0.01, 0.02, 0.03])
    tab.locator("#curve-smoothing").fill("0.5")
    np.testing.assert_allclose(drawn()[-1]["y"], [1, (1 + 2 * 0.5) / 3, (1 + 2 * 0.5 + 4 / 3) / 7], atol=1e-5)
    tab.close()


@needs_chromium
@pytest.mark.slow
def test_interim_scores_are_dotted_curves_and_effects_are_drawn(tmp_path: Path, browser: Any) -> None:
    runs = tmp_path / "work" / "brats21" / "runs"
    factors = {"none": "", "a": "A", "b": "B", "ab": "A, B"}
    for shift, name in enumerate(factors):
        for fold in (0, 1):
            _write_run(runs, name, fold, shift / 50)
            interim = {"epoch": 0, "step": 0, "seconds": 9.0, "interim/dice": 0.25}
            RunDirectory.at(runs, Coordinates(name, fold, 7e-4, 0)).append("metrics.jsonl", [interim])
    columns = "".join(f"  - {{title: {name}, experiment: {name}, factors: [{on}]}}\n" for name, on in factors.items())
    sweep = tmp_path / "work" / "brats21" / "tables" / "sweeps" / "design.yaml"
    sweep.parent.mkdir(parents=True)
    sweep.write_text(f"title: Design\nbaseline: none\ncolumns:\n{columns}")
    assert _report(tmp_path / "work").returncode == 0
    tab = browser.new_page()
    tab.goto((tmp_path / "work" / "brats21" / "tables" / "report.html").as_uri())
    tab.wait_for_selector("html[data-drawn=yes]", timeout=60_000)
    assert tab.locator("main > section").evaluate_all("all => all.map((s) => s.id)")[:2] == ["summary", "design"]
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
        _write_run(runs, f"ds_{fraction:g}", fold, fraction / 10, fraction=fraction)
    _write_run(runs, "focal", 0, 0.1)
    assert _report(tmp_path / "work", "job.tables=[trained]").returncode == 0
    page = tmp_path / "work" / "brats21" / "tables" / "report.html"
    (curve,) = json.loads(_unpacked(page, "data"))["tables"][0]["sizes"]
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


def test_without_runs_it_prints_one_sentence(tmp_path: Path) -> None:
    done = _report(tmp_path / "work")
    assert done.returncode == 0
    assert done.stdout.startswith("no run under ")
    assert not list(tmp_path.rglob("*.html"))


@pytest.fixture(name="browser", scope="module")
def _browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(name="opened", params=["desktop", pytest.param("phone", marks=pytest.mark.slow)])
def _opened(request: pytest.FixtureRequest, browser: Any, page: Path) -> Iterator[Any]:
    """The page in Chromium; fails at the end if the console or the network reported anything."""
    phone = request.param == "phone"
    context = browser.new_context(
        viewport={"width": 390, "height": 844} if phone else {"width": 1400, "height": 900},
        is_mobile=phone, has_touch=phone, color_scheme="dark" if phone else "light", offline=True,
    )  # fmt: skip
    tab = context.new_page()
    messages: list[str] = []
    tab.on("console", lambda message: messages.append(message.text))
    tab.on("pageerror", lambda error: messages.append(str(error)))
    tab.on("requestfailed", lambda request: messages.append(request.url))
    tab.goto(page.as_uri())
    tab.wait_for_selector("html[data-drawn=yes]", timeout=60_000)
    yield tab
    context.close()
    assert messages == []


@needs_chromium
def test_every_figure_is_drawn_and_nothing_overflows(opened: Any) -> None:
    assert opened.locator("#forest-table2 .errorbar").count() == 2
    assert opened.locator("#forest-table2 .zerolinelayer path").count() == 1  # no difference is always in sight
    assert opened.locator("#dots-table2 .point").count() == 6 * 5 + 5 + 5 + 3
    opened.select_option("#curve-kind", "runs")
    assert opened.locator(CURVES).count() == 14
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")


@needs_chromium
def test_a_reliability_diagram_of_every_region(opened: Any) -> None:
    assert opened.locator("nav a[href='#calibration']").count() == 1
    assert opened.locator("#calibration .plot").count() == 3
    points = "#calibration-2 .scatterlayer .point"
    assert opened.locator(points).count() == 2 * 2  # two columns, two bins that are not empty
    assert "ET" in opened.text_content("#calibration-2 .xtitle")
    legend = opened.locator("#calibration-2 .legendtext").all_text_contents()
    assert [text.rsplit(", ", 1)[1] for text in legend] == ["ECE 0.1250"] * 2
    high = opened.locator(points).last.bounding_box()["x"]
    opened.select_option("#calibration-voxels", "brain")
    assert opened.locator("#calibration-2 .legendtext").first.text_content().endswith("ECE 0.3750")
    assert opened.locator(points).last.bounding_box()["x"] < high


@needs_chromium
def test_names_beside_the_figures_do_not_overlap_and_are_whole(opened: Any) -> None:
    for figure in ("#forest-table2", "#dots-table2"):
        boxes = [tick.bounding_box() for tick in opened.locator(f"{figure} .ytick text").all()]
        edges = opened.locator(f"{figure} .main-svg").first.bounding_box()
        assert len(boxes) >= 2
        assert all(box["x"] >= edges["x"] and box["y"] >= edges["y"] for box in boxes)
        assert all(a["y"] + a["height"] <= b["y"] for a, b in itertools.pairwise(boxes))


@needs_chromium
def test_no_serious_finding_of_axe(opened: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    opened.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    found = axe.Axe().run(opened).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")] == []


@needs_chromium
def test_no_figure_offers_to_send_its_data_anywhere(opened: Any) -> None:
    buttons = opened.locator(".modebar-btn").evaluate_all("all => all.map((b) => b.dataset.title)")
    assert not [title for title in buttons if "cloud" in title.lower() or "share" in title.lower()]


@needs_chromium
def test_the_controls_work(opened: Any) -> None:
    offered = opened.locator("#curve-metric option").all_inner_texts()
    assert offered == ["mean Dice", "Dice WT", "Dice TC", "Dice ET", "training loss", "learning rate"]
    opened.select_option("#curve-kind", "runs")
    opened.select_option("#curve-fold", "2")
    assert opened.locator(CURVES).count() == 3
    opened.uncheck("#curve-variants input[value=ds]")
    assert opened.locator(CURVES).count() == 2
    opened.select_option("#curve-fold", "4")
    opened.uncheck("#curve-variants input[value=baseline]")
    assert "No run matches" in opened.inner_text("#curve-words")
    opened.select_option("#case-b", "ds")
    assert opened.inner_text("#case-words") == "40 cases in both: 40 higher in DS (ds), 0 lower, 0 equal."
    assert opened.locator("#case-table tbody tr").count() == 12
    assert opened.locator("#case-pictures img").count() > 0
    opened.select_option("#case-a", "ds")
    assert opened.inner_text("#case-words") == "40 cases in both: 0 higher in DS (ds), 0 lower, 40 equal."


@needs_chromium
def test_the_theme_follows_the_system_and_the_button_by_keyboard(opened: Any) -> None:
    def background() -> str:
        return str(opened.evaluate("getComputedStyle(document.body).backgroundColor"))

    def figure() -> str:
        return str(opened.evaluate("getComputedStyle(document.querySelector('#curve-plot .main-svg')).backgroundColor"))

    before = background()
    assert figure() == before
    opened.keyboard.press("Tab")  # the skip link
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.id") == "theme"
    opened.keyboard.press("Enter")
    assert background() != before
    assert figure() == background()


@needs_chromium
def test_details_open_by_keyboard_and_for_print(opened: Any) -> None:
    summary = opened.locator("#table2 summary").first
    summary.focus()
    opened.keyboard.press("Enter")
    assert opened.locator("#table2 details").first.evaluate("d => d.open")
    opened.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.locator("details:not([open])").count() == 0
    assert opened.pdf()[:4] == b"%PDF"
