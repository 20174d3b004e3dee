"""The documentation site: it builds without a warning, and its pages open without an error on a desktop and a phone."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from report_page import chromium, needs_chromium

ROOT = Path(__file__).parents[2]
WIDTHS = {"desktop": 1280, "phone": 390}
pytestmark = pytest.mark.slow(minutes=1)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_the_reference_has_every_option_key_and_public_name(site: Path) -> None:
    options = (site / "reference" / "options.html").read_text(encoding="utf-8")
    files = [f.relative_to(ROOT / "conf").with_suffix("") for f in (ROOT / "conf").glob("*/**/*.yaml")]
    assert not [f for f in files if f"{f.parent.as_posix()}={f.name}<" not in options]
    assert "checkpoint_minutes" in (site / "reference" / "keys.html").read_text(encoding="utf-8")
    python = (site / "reference" / "python.html").read_text(encoding="utf-8")
    assert all(f'id="brats_ablate.{name}"' in python for name in ("load_predictor", "results"))
    assert "[Unreleased]" in (site / "reference" / "changelog.html").read_text(encoding="utf-8")


@needs_chromium
def test_every_page_opens_without_an_error_and_fits_its_window(site: Path, address: str) -> None:
    pages = sorted(page.relative_to(site).as_posix() for page in site.rglob("*.html") if page.name != "404.html")
    assert len(pages) > 25
    problems = []
    with chromium() as browser:
        for name, width in WIDTHS.items():
            tab = browser.new_page(viewport={"width": width, "height": 900})
            tab.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
            tab.on("pageerror", lambda error: problems.append(str(error)))
            tab.on("response", lambda response: problems.append(response.url) if response.status >= 400 else None)
            for page in pages:
                tab.goto(f"{address}/{page}", wait_until="load")
                if tab.evaluate("document.documentElement.scrollWidth") > width:
                    problems.append(f"{page} is wider than the {name}")
            tab.close()
    assert not problems
