"""Render the report: one self-contained HTML file.

It holds the static sections, plotly.js (from the plotly package) and the figures' data. The latter two are compressed
with gzip, and the browser unpacks them, so that the file stays below 5 MB for 180 runs of 250 cases.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from brats_ablate.errors import UserError
from brats_ablate.report.calibration import calibration_columns, calibration_section
from brats_ablate.report.figures import figure_data
from brats_ablate.report.sections import config_section, environment_section, missing_section, table_section
from brats_ablate.report.summary import summary_section
from brats_ablate.runtime.files import to_json
from brats_ablate.tables.build import TableResult

_PAGE = Path(__file__).parent / "page"


def render_report(
    results: Sequence[TableResult],
    shown: Sequence[TableResult],
    pictures: Mapping[str, Mapping[str, Path]],
    calibrations: Mapping[str, Mapping[str, Any]],
    *,
    title: str,
    commands: Mapping[str, str],
) -> str:
    """Return the page as text.

    Args:
        results: tables with at least one run each; the learning curves are of all of them.
        shown: those among them that the page shows as tables.
        pictures: experiment → case id → PNG file; those of the cases that changed most are embedded.
        calibrations: experiment → what `job=calibration` wrote.
        title: of the page.
        commands: experiment → the command that trains runs of it, without folds.

    Raises:
        UserError: plotly is not installed.
    """
    calibrated = calibration_columns(shown, calibrations)
    data = figure_data(results, shown, pictures) | {"calibration": [column.plotted for column in calibrated]}
    runs = list({run.directory.path: run for r in results for c in r.columns for run in c.scores.runs}.values())
    settings, missing = config_section(shown), missing_section(shown, runs, commands)
    sections = [  # "Table 1" of "Table 1. U-Net, UNETR and SegResNetVAE"
        ("summary", "Summary"), *((f"table-{r.spec.name}", r.spec.title.split(". ")[0]) for r in shown),
        *([("calibration", "Calibration")] if calibrated else []), *([("curves", "Learning curves")] if runs else []),
        *([("cases", "Cases")] if data["cases"]["ids"] else []), *([("settings", "Config diff")] if settings else []),
        ("provenance", "Environment"), *([("missing", "Missing runs")] if missing else []),
    ]  # fmt: skip
    parts = {
        "title": escape(title),
        "style": (_PAGE / "page.css").read_text(encoding="utf-8"),
        "script": "".join((_PAGE / name).read_text(encoding="utf-8") for name in ("curves.js", "page.js")),
        "generated": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "links": "".join(f'<a href="#{escape(name)}">{escape(text)}</a>' for name, text in sections),
        "summary": summary_section(shown, runs),
        "tables": "".join(table_section(result) for result in shown),
        "calibration": calibration_section(calibrated),
        "settings": settings,
        "provenance": environment_section(shown, runs),
        "missing": missing,
        "data": _packed(to_json(data, separators=(",", ":")).encode()),
        "plotly": _packed(plotly_file().read_bytes()),
    }
    page = (_PAGE / "page.html").read_text(encoding="utf-8")
    for name, text in parts.items():
        page = page.replace(f"<!--{name}-->", text)
    return page


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, compresslevel=9, mtime=0)).decode("ascii")


def plotly_file() -> Path:
    """Return the file of plotly.js in the plotly package, without importing the package."""
    spec = find_spec("plotly")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("the report needs plotly; install it with pip install plotly")
    return Path(next(iter(spec.submodule_search_locations))) / "package_data" / "plotly.min.js"
