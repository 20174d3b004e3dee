"""job=report: the page is one file, has the numbers of the tables, and works in a real browser."""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_page import CURVES, chromium, make_report, needs_chromium, unpacked, write_calibration, write_run
from schemes import GLI2024

pytestmark = pytest.mark.slow
NAMES = ("baseline", "ds", "attention")
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


@pytest.fixture(name="page", scope="module")
def _page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of three experiments; one run of `attention` is unfinished and one missing. Two are calibrated."""
    work = tmp_path_factory.mktemp("report") / "work"
    runs = work / "brats21" / "runs"
    for name, shift in zip(NAMES, (0.0, 0.05, 0.0), strict=True):
        for fold in range(5 if name != "attention" else 4):
            state = "running" if name == "attention" and fold == 3 else "finished"
            write_run(runs, name, fold, shift, state=state)
    pictures = work / "brats21" / "predictions" / "ds" / "pictures"
    pictures.mkdir(parents=True)
    for case in range(8):
        (pictures / f"case<0>{case:03d}.png").write_bytes(PNG)
    for name in ("ds", "attention", "in_no_table"):
        write_calibration(work, name)
    done = make_report(work, "job.paper=true")
    assert done.returncode == 0, done.stderr
    return work / "brats21" / "tables" / "report.html"


def test_the_page_is_one_file_below_the_limit(page: Path) -> None:
    text = page.read_text()
    assert len(text.encode()) < 5e6
    assert "<!--" not in text
    assert not re.search(r'(?:src|href)="(?!#|data:)', text)
    assert b"plotly.js" in unpacked(page, "plotly")[:200]


def test_it_has_the_numbers_of_the_tables(page: Path) -> None:
    text = page.read_text()
    assert re.search(r'<b class="better">DS is better than baseline.</b> Δ mean Dice \+0\.0[45]\d+, 95 % CI', text)
    assert re.search(r"Highest mean Dice: DS, 0\.\d{4} over the 3 folds that all have", text)
    assert "Cost: 25m of training in 14 runs." in text
    assert "Missing: 2 folds of 1 variant, 3 untrained variants, 1 unfinished run" in text
    assert "the paper prints 0.9133" in text
    assert "python -m brats_ablate data=brats21 +experiment=attention lr=0.0007 fold=3,4 -m" in text
    assert "attention fold=3 lr=0.0007 seed=0" in text
    assert '<tr><th scope="row">DS vs baseline</th><td>model._target_</td><td>baseline</td><td>ds</td></tr>' in text
    assert "torch 2.13.0" in text


def test_the_figures_data_are_the_runs(page: Path) -> None:
    data = json.loads(unpacked(page, "data"))
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
    data = json.loads(unpacked(page, "data"))
    assert [column["key"] for column in data["calibration"]] == ["attention", "ds"]
    bins = data["calibration"][0]["voxels"]["near_tumor"]["ET"]
    assert (bins["counts"], bins["confidence"][:3], bins["frequency"]) == (
        [1, 0, 1, 0],
        [0, None, 0.75],
        [0, None, 1, None],
    )
    table = re.search(r'<section id="calibration">.*?</table>', page.read_text())
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', table[0])
    cells = [[name, *re.findall(r"<td>(.*?)</td>", row)] for name, row in rows]
    near = ["near the tumor", "1", *["0.1250"] * 3, *[f"{0.25**2 / 2:.4f}"] * 3]
    brain = ["brain", "1", *["0.3750"] * 3, *[f"{0.75**2 / 2:.4f}"] * 3]
    assert cells == [[title, *row] for title in ("Attention", "DS") for row in (near, brain)]


def test_a_calibration_of_other_regions_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "work" / "brats21" / "runs", "ds", 0, 0.0)
    write_calibration(tmp_path / "work", "ds", ("GTV",))
    done = make_report(tmp_path / "work")
    assert done.returncode == 1
    assert "the calibration of ds is of GTV, not of WT, TC, ET; run job=calibration again" in done.stdout + done.stderr


def test_the_figures_data_of_other_labels(tmp_path: Path) -> None:
    for name, shift in (("baseline", 0.0), ("ds", 0.05)):
        write_run(tmp_path / "work" / "brats21" / "runs", name, 0, shift, labels=GLI2024)
    done = make_report(tmp_path / "work", "labels=brats2024_gli")
    assert done.returncode == 0, done.stderr
    page = tmp_path / "work" / "brats21" / "tables" / "report.html"
    data = json.loads(unpacked(page, "data"))
    assert (data["regions"], data["averaged"], data["sized_region"]) == (["WT", "TC", "ET", "RC"], [0, 1, 2, 3], "ET")
    assert len(data["curves"][0]["dice"]["dice/RC"]) == 3
    assert [len(of_region) for of_region in data["cases"]["dice"]["ds"]] == [8] * 4
    assert "Mean Dice of WT, TC, ET and RC" in page.read_text()
    refused = make_report(tmp_path / "work")
    assert refused.returncode == 1
    assert (
        "was scored on WT, TC, ET, RC, not on WT, TC, ET; choose the labels option" in refused.stderr + refused.stdout
    )


@needs_chromium
def test_curves_are_the_mean_and_sd_over_folds(page: Path, browser: Any) -> None:
    tab = browser.new_page()
    tab.goto(page.as_uri())
    tab.wait_for_selector("html[data-drawn=yes]", timeout=60_000)
    curves = [c for c in json.loads(unpacked(page, "data"))["curves"] if c["name"] == "ds"]
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


def test_without_runs_it_prints_one_sentence(tmp_path: Path) -> None:
    done = make_report(tmp_path / "work")
    assert done.returncode == 0
    assert done.stdout.startswith("no run under ")
    assert not list(tmp_path.rglob("*.html"))


@pytest.fixture(name="browser", scope="module")
def _browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(name="opened", params=["desktop", "phone"])
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


def test_a_table_may_be_named_as_a_section_is(tmp_path: Path) -> None:
    write_run(tmp_path / "work" / "brats21" / "runs", "ds", 0, 0.0)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "curves.yaml").write_text("title: Mine\ncolumns: [{title: DS, experiment: ds}]\n")
    assert make_report(tmp_path / "work", "job.tables=[curves]").returncode == 0
    page = (tmp_path / "work" / "brats21" / "tables" / "report.html").read_text()
    ids = re.findall(r' id="(.*?)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'<a href="#(.*?)"', page)) <= set(ids)


@needs_chromium
def test_the_curves_are_drawn_while_no_run_is_finished(tmp_path: Path, browser: Any) -> None:
    write_run(tmp_path / "work" / "brats21" / "runs", "baseline", 0, 0.0, state="running")
    assert make_report(tmp_path / "work").returncode == 0
    tab = browser.new_page()
    tab.goto((tmp_path / "work" / "brats21" / "tables" / "report.html").as_uri())
    tab.wait_for_selector("html[data-drawn=yes]", timeout=60_000)
    tab.select_option("#curve-kind", "runs")
    assert tab.locator(CURVES).count() == 1
    assert tab.locator("[id^=dots-]").count() == 0
    tab.close()


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
    summary = opened.locator("#table-table2 summary").first
    summary.focus()
    opened.keyboard.press("Enter")
    assert opened.locator("#table-table2 details").first.evaluate("d => d.open")
    opened.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.locator("details:not([open])").count() == 0
    assert opened.evaluate("document.querySelector('#curve-plot .main-svg').clientWidth <= document.body.clientWidth")
    assert opened.pdf()[:4] == b"%PDF"
