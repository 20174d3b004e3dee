"""A table of numbers, computed once and rendered by every writer. A cell keeps its numbers; a writer takes its text.

`tabulate` makes tables. `terminal`, `writers` (Markdown, CSV, LaTeX), the HTML report and W&B render them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from brats_ablate.tables.statistics import LEVEL, Interval

if TYPE_CHECKING:
    from pandas import DataFrame

DASH = "–"
Raw = float | int | str | None
Format = Callable[[float], str]
Mark = Literal["", "best", "better", "worse", "missing", "unfinished"]


@dataclass(frozen=True)
class Words:
    """Text; `detail` follows after a colon and is a column of its own in CSV."""

    words: str
    detail: str = ""
    mark: Mark = ""

    @property
    def text(self) -> str:
        return f"{self.words}: {self.detail}" if self.detail else self.words

    @property
    def raw(self) -> dict[str, Raw]:
        return {"": self.words, "reason": self.detail} if self.detail else {"": self.words}


@dataclass(frozen=True)
class Absent(Words):
    """A number that does not exist; the words say why."""

    words: str = DASH

    @property
    def raw(self) -> dict[str, Raw]:
        return {"": None}


@dataclass(frozen=True)
class Detail:
    """A second number of a cell: a learning rate, a ratio to the baseline, a number of seeds."""

    name: str
    value: float
    format: Format


@dataclass(frozen=True)
class Number:
    """A number; None and NaN are shown as a dash."""

    value: float | None
    format: Format
    detail: Detail | None = None
    mark: Mark = ""

    @property
    def text(self) -> str:
        shown = _text(self.value, self.format)
        if shown == DASH:
            return DASH
        return f"{shown} ({self.detail.format(self.detail.value)})" if self.detail else shown

    @property
    def raw(self) -> dict[str, Raw]:
        second: dict[str, Raw] = {self.detail.name: self.detail.value} if self.detail else {}
        return {"": known(self.value)} | second


@dataclass(frozen=True)
class Bounds:
    """A confidence interval."""

    interval: Interval
    format: Format
    template: str = "[{}, {}]"
    mark: Mark = ""

    @property
    def text(self) -> str:
        low, high = self.interval.low, self.interval.high
        return DASH if math.isnan(low) else self.template.format(self.format(low), self.format(high))

    @property
    def raw(self) -> dict[str, Raw]:
        return {"low": known(self.interval.low), "high": known(self.interval.high)}


@dataclass(frozen=True)
class Distribution:
    """A score over cases: mean ± SD, median and quartiles. Without cases there is no such cell but an `Absent`."""

    values: np.ndarray
    """(cases,), at least one."""
    mean_format: Format
    median_format: Format
    mark: Mark = ""
    symbol: str = ""
    """Of significance, after the SD."""

    @property
    def mean_and_sd(self) -> tuple[str, str]:
        return _text(float(self.values.mean()), self.mean_format), _text(self._sd, self.mean_format)

    @property
    def median_and_quartiles(self) -> tuple[str, str, str]:
        q1, median, q3 = (_text(value, self.median_format) for value in self._quartiles)
        return median, q1, q3

    @property
    def text(self) -> str:
        spread = " ± ".join(self.mean_and_sd) + self.symbol
        return "{}; {} [{}, {}]".format(spread, *self.median_and_quartiles)

    @property
    def raw(self) -> dict[str, Raw]:
        q1, median, q3 = self._quartiles
        return {"": float(self.values.mean()), "SD": self._sd, "median": median, "q1": q1, "q3": q3}

    @property
    def _sd(self) -> float | None:
        """None of one value, or where one is infinite."""
        is_defined = len(self.values) > 1 and np.isfinite(self.values).all()
        return float(self.values.std(ddof=1)) if is_defined else None

    @property
    def _quartiles(self) -> list[float]:
        """Lower quartile, median, upper quartile; infinite between a finite and an infinite value."""
        most = np.finfo(float).max
        quartiles = np.quantile(np.minimum(self.values, most), (0.25, 0.5, 0.75)).tolist()
        return [math.inf if value > most / 1e6 else value for value in quartiles]


def _text(value: float | None, format: Format) -> str:
    if value is None or math.isnan(value):
        return DASH
    return "∞" if math.isinf(value) else format(value)


def known(value: float | None) -> float | None:
    """Return None for NaN, which JSON and CSV do not have."""
    return None if value is None or math.isnan(value) else value


Cell = Words | Number | Bounds | Distribution
"""What a table holds at one place: `text` for people; `raw`, the values for programs by the suffix of their column (""
is the column itself); `mark`, how writers may highlight it."""
Row = tuple[Cell, ...]


@dataclass(frozen=True)
class Header:
    """The head of a column. `name` is unique in the table; `text` is what people read."""

    text: str
    name: str
    is_paper: bool = False
    """The column holds what the paper printed."""


@dataclass(frozen=True)
class Table:
    """Rows of cells below headers. `rules` are the rows that a line goes above."""

    name: str
    title: str
    headers: tuple[Header, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    rules: frozenset[int] = frozenset()

    @property
    def header_texts(self) -> tuple[str, ...]:
        return tuple(header.text for header in self.headers)

    @property
    def texts(self) -> list[tuple[str, ...]]:
        """Every row as people read it."""
        return [tuple(cell.text for cell in row) for row in self.rows]

    def frame(self) -> DataFrame:
        """Return the numbers behind the table; a cell of two numbers fills two columns. Missing numbers are None."""
        import pandas as pd

        columns: dict[str, list[Raw]] = {}
        for c, header in enumerate(self.headers):
            raws = [row[c].raw for row in self.rows]
            name = header.name if header.name not in columns else f"{header.name} {c}"
            for suffix in dict.fromkeys(key for raw in raws for key in raw) or [""]:
                columns[f"{name} {suffix}".strip()] = [raw.get(suffix) for raw in raws]
        return pd.DataFrame(columns, dtype=object)


def headers(*texts: str) -> tuple[Header, ...]:
    """Return headers whose names are their texts."""
    return tuple(Header(text, text) for text in texts)


def words_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table without numbers."""
    return Table("", title, headers(*header), tuple(tuple(map(Words, row)) for row in rows))


# ---- numbers as text, the same in every writer


dice: Format = "{:.4f}".format
"""Four decimals, as in the paper."""


def signed(value: float) -> str:
    """Format a difference with its sign; a zero has none."""
    text = f"{value:+.4f}"
    return text.lstrip("+-") if float(text) == 0 else text


def p_value(p: float) -> str:
    """Format with three decimals, or as <0.001; with four where a p above 0.05 would be shown as 0.050."""
    text = "<0.001" if p < 0.001 else f"{p:.3f}"
    return f"{p:.4f}" if p > 1 - LEVEL and float(text) <= 1 - LEVEL else text


def fold_list(folds: Sequence[int]) -> str:
    """Name folds as fold 0, or folds 0, 1."""
    return f"fold{'s' if len(folds) > 1 else ''} {', '.join(map(str, folds))}"


def learning_rate(lr: float) -> str:
    """Format as in the paper: 7e-4."""
    mantissa, exponent = f"{lr:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"
