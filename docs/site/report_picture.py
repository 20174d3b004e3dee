"""Draw the top of a report as a picture: python docs/site/report_picture.py REPORT PICTURE. Needs Chromium."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

WIDTH, HEIGHT = 1200, 1500


def main() -> None:
    """Open the report, wait until its figures are drawn, and write the picture."""
    report, picture = map(Path, sys.argv[1:])
    names = ("chromium", "chromium-browser", "google-chrome")
    browser_path = next(filter(None, map(shutil.which, names)), None)  # else that of `playwright install chromium`
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(report.resolve().as_uri())
        page.wait_for_selector("html[data-drawn=yes]", timeout=60_000)
        page.screenshot(path=str(picture))
        browser.close()


if __name__ == "__main__":
    main()
