"""Makes the report: one HTML file with everything in it, readable from disk and without a network.

tables ─payload─▶ figures' data ┐
tables ─page_parts─▶ HTML ──────┴▶ one file, with plotly.js (from the plotly package) and the data packed by gzip.
The browser unpacks both, so the file stays below 5 MB for 180 runs of 250 cases.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.util import find_spec
from pathlib import Path

from brats_ablate.errors import UserError
from brats_ablate.report.figures import payload
from brats_ablate.report.sections import missing_part, provenance_part, settings_part, table_part
from brats_ablate.tables.build import TableResult

_PAGE = Path(__file__).parent / "page"


def render_report(results: Sequence[TableResult], pictures: Mapping[str, Mapping[str, Path]], *, title: str) -> str:
    """The page as text.

    Args:
        results: tables with at least one run.
        pictures: experiment -> case id -> PNG file; those of the cases that changed most are put in.
        title: of the page.

    Raises:
        UserError: plotly is not installed.
    """
    parts = {
        "title": escape(title),
        "style": (_PAGE / "page.css").read_text(encoding="utf-8"),
        "script": (_PAGE / "page.js").read_text(encoding="utf-8"),
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "links": "".join(f'<a href="#{escape(r.study.name)}">{escape(_short(r.study.title))}</a>' for r in results),
        "tables": "".join(table_part(result) for result in results),
        "settings": settings_part(results),
        "provenance": provenance_part(results),
        "missing": missing_part(results),
        "data": _packed(json.dumps(payload(results, pictures), separators=(",", ":"), allow_nan=False).encode()),
        "plotly": _packed(_plotly_file().read_bytes()),
    }
    page = (_PAGE / "page.html").read_text(encoding="utf-8")
    for name, text in parts.items():
        page = page.replace(f"<!--{name}-->", text)
    return page


def _short(title: str) -> str:
    """ "Table 1" of "Table 1. U-Net, UNETR and SegResNetVAE"."""
    return title.split(". ", maxsplit=1)[0]


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, compresslevel=9, mtime=0)).decode("ascii")


def _plotly_file() -> Path:
    """plotly.js as the plotly package carries it; found without importing the package."""
    spec = find_spec("plotly")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("the report needs plotly; install it with pip install plotly")
    return Path(next(iter(spec.submodule_search_locations))) / "package_data" / "plotly.min.js"
