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
from brats_ablate.runtime.files import to_json
from brats_ablate.tables.build import TableResult

_PAGE = Path(__file__).parent / "page"


def render_report(
    results: Sequence[TableResult],
    pictures: Mapping[str, Mapping[str, Path]],
    calibrations: Mapping[str, Mapping[str, Any]],
    *,
    title: str,
) -> str:
    """Return the page as text.

    `results` have at least one run each. `pictures` are experiment -> case id -> PNG file; those of the cases that
    changed most are embedded. `calibrations` are experiment -> what `job=calibration` wrote.

    Raises:
        UserError: plotly is not installed.
    """
    calibrated = calibration_columns(results, calibrations)
    data = figure_data(results, pictures) | {"calibration": [column.plotted for column in calibrated]}
    parts = {
        "title": escape(title),
        "style": (_PAGE / "page.css").read_text(encoding="utf-8"),
        "script": (_PAGE / "page.js").read_text(encoding="utf-8"),
        "generated": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "links": "".join(  # "Table 1" of "Table 1. U-Net, UNETR and SegResNetVAE"
            f'<a href="#{escape(r.spec.name)}">{escape(r.spec.title.split(". ")[0])}</a>' for r in results
        )
        + ('<a href="#calibration">Calibration</a>' if calibrated else ""),
        "tables": "".join(table_section(result) for result in results),
        "calibration": calibration_section(calibrated),
        "settings": config_section(results),
        "provenance": environment_section(results),
        "missing": missing_section(results),
        "data": _packed(to_json(data, separators=(",", ":")).encode()),
        "plotly": _packed(_plotly_file().read_bytes()),
    }
    page = (_PAGE / "page.html").read_text(encoding="utf-8")
    for name, text in parts.items():
        page = page.replace(f"<!--{name}-->", text)
    return page


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, compresslevel=9, mtime=0)).decode("ascii")


def _plotly_file() -> Path:
    """Return the file of plotly.js in the plotly package, without importing the package."""
    spec = find_spec("plotly")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("the report needs plotly; install it with pip install plotly")
    return Path(next(iter(spec.submodule_search_locations))) / "package_data" / "plotly.min.js"
