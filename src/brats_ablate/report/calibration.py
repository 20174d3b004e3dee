"""The report's calibration: a table of ECE and Brier score, and the data of the reliability diagrams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from brats_ablate.errors import DataError
from brats_ablate.report.sections import table_html
from brats_ablate.tables.build import TableResult
from brats_ablate.tables.table import Header, Number, Row, Table, Words

_VOXELS = {"near_tumor": "near the tumor", "brain": "brain"}
"""Sets of voxels in files of `job=calibration`, and what readers call them; the diagrams show the first one first."""


@dataclass(frozen=True)
class CalibrationColumn:
    """The calibration of one column of the tables."""

    key: str
    """As `Column.source`."""
    title: str
    content: Mapping[str, Any]
    """What `job=calibration` wrote."""
    regions: Sequence[str]

    @property
    def plotted(self) -> dict[str, Any]:
        """The reliability bins, for the page's script."""
        names = ("counts", "confidence", "frequency", "ece")
        voxels = {
            where: {
                region: {name: self.content["voxels"][where][region][name] for name in names} for region in self.regions
            }
            for where in _VOXELS
        }
        return {"key": self.key, "voxels": voxels}


def calibration_columns(
    results: Sequence[TableResult], calibrations: Mapping[str, Mapping[str, Any]]
) -> list[CalibrationColumn]:
    """Return the columns of the tables whose predictions have a calibration, each once, in the tables' order.

    Raises:
        DataError: one is of other regions than the tables.
    """
    columns: dict[str, CalibrationColumn] = {}
    for result in results:
        regions = result.labels.region_names
        for column in (c.column for c in result.columns):
            if column.key not in calibrations or column.key in columns:
                continue
            content = calibrations[column.key]
            if (scored := list(content["voxels"]["brain"])) != list(regions):
                raise DataError(
                    f"the calibration of {column.key} is of {', '.join(scored)}, not of {', '.join(regions)}; run "
                    "job=calibration again, or choose the labels option that it was computed with"
                )
            columns[column.key] = CalibrationColumn(column.source, column.title, content, regions)
    return list(columns.values())


def calibration_section(columns: Sequence[CalibrationColumn]) -> str:
    """Return the section: its table, and a place for one reliability diagram of each region; "" without columns."""
    if not columns:
        return ""
    options = "".join(f'<option value="{name}">{text}</option>' for name, text in _VOXELS.items())
    figures = "".join(
        f'<figure><div class="plot tall" id="calibration-{i}" role="group" aria-label="Reliability diagram of '
        f'{escape(region)}; its errors are in the table above"></div></figure>'
        for i, region in enumerate(columns[0].regions)
    )
    return (
        '<section id="calibration"><h2>Calibration</h2>'
        + table_html(_table(columns), caption=False)
        + f'<div class="controls"><label>Voxels <select id="calibration-voxels">{options}</select></label></div>'
        + f'<div class="figures">{figures}</div></section>'
    )


def _table(columns: Sequence[CalibrationColumn]) -> Table:
    regions = columns[0].regions
    scores = (("ECE", "ece", "{:.4f}"), ("Brier", "brier", "{:.4f}"))
    heads = [Header(text, text) for text in ("variant", "voxels", "cases")]
    heads += [Header(f"{score} {region}", f"{key} {region}") for score, key, _ in scores for region in regions]
    rows: list[Row] = []
    for column in columns:
        for where, text in _VOXELS.items():
            values = column.content["voxels"][where]
            numbers = [Number(values[region][key], form.format) for _, key, form in scores for region in regions]
            cases = Number(column.content["cases"], "{:.0f}".format)
            rows.append((Words(column.title), Words(text), cases, *numbers))
    margins = sorted({f"{column.content['margin_mm']:g}" for column in columns})
    bins = sorted({str(column.content["bins"]) for column in columns})
    note = (
        f"Expected calibration error ({' or '.join(bins)} bins of equal width) and Brier score, over the voxels of all "
        f"cases; near the tumor: brain within {' or '.join(margins)} mm of the reference or of a probability of 0.5 in "
        "any region. On the dotted line, predicted probability and observed frequency agree."
    )
    return Table("calibration", "Calibration", tuple(heads), tuple(rows), (note,))
