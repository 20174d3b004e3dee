"""What `make bench` found, as `docs/speed.md` and as lines on the screen."""

from __future__ import annotations

import statistics
from typing import Any

from measuring import Claim, Row, Table, from_json

_NO_GPU = (
    "**The GPU part has not been run**: this machine has none. On a machine with one, the same command measures "
    "automatic mixed precision in both memory layouts, compiled and not, at batch 1, 2 and 4, with peak memory."
)


def markdown(found: dict[str, Any]) -> str:
    """The whole document."""
    machine = found["machine"]
    versions = ", ".join(f"{name} {v}" for name, v in machine["versions"].items())
    lines = [
        "# Speed",
        "",
        "Written by `make bench` (`benchmarks/run.py`); do not edit. Contenders take turns, each round in the opposite "
        "order; a table gives the median of the rounds and their range. A ratio is the median of the rounds' ratios, "
        "its range in brackets; above 1 ours is better. Ratios travel to other machines, absolute times do not.",
        "",
        f"- measured {found['date']} on {found['cases']}"
        + (" **at small sizes (`--quick`): these figures mean nothing**" if found["quick"] else ""),
        f"- {machine['cpu']}, {machine['cores']} cores ({', '.join(machine['instructions']) or 'no AVX'}), "
        f"{machine['memory_gib']} GiB, {machine['gpu'] or 'no GPU'}; Python {machine['python']}",
        f"- {versions}",
        "",
        *([] if machine["gpu"] else [_NO_GPU, ""]),
    ]
    for part in found["parts"].values():
        for table in from_json(part):
            lines += _section(table)
    return "\n".join(lines).rstrip() + "\n"


def summary(tables: list[dict[str, Any]]) -> str:
    """The ratios of one part, a line each."""
    lines = []
    for table in from_json(tables):
        lines.append(f"  {table.title}")
        lines += [f"    {row.name}: {_figure(row.median)} {table.unit}" for row in table.rows]
        lines += [f"    × {_figure(_ratio(table, c))} against {c.text}{_target(table, c)}" for c in table.claims]
    return "\n".join(lines)


def _section(table: Table) -> list[str]:
    extra = list(dict.fromkeys(key for row in table.rows for key in row.extra))
    head = ["", table.unit, "range", *extra]
    lines = [f"## {table.title}", "", _line(head), "|---|--:|--:|" + "--:|" * len(extra)]
    lines += [_line(_cells(row, extra)) for row in table.rows]
    lines.append("")
    if table.claims:
        lines += [_line(["ours against", "ratio", "range", "asked"]), "|---|--:|--:|--:|"]
        for claim in table.claims:
            ratios = table.ratios(claim)
            ratio, bounds = f"**{_figure(_ratio(table, claim))}**", f"{_figure(min(ratios))} – {_figure(max(ratios))}"
            lines.append(_line([claim.text, ratio, bounds, _target(table, claim).strip(" ()") or "–"]))
        lines.append("")
    return [*lines, table.note, ""] if table.note else lines


def _cells(row: Row, extra: list[str]) -> list[str]:
    bounds = f"{_figure(min(row.values))} – {_figure(max(row.values))}"
    return [row.name, _figure(row.median), bounds, *(row.extra.get(key, "–") for key in extra)]


def _ratio(table: Table, claim: Claim) -> float:
    return statistics.median(table.ratios(claim))


def _target(table: Table, claim: Claim) -> str:
    if claim.at_least is None:
        return ""
    return f" (≥ {_figure(claim.at_least)}: {'met' if _ratio(table, claim) >= claim.at_least else 'NOT MET'})"


def _figure(value: float) -> str:
    """Three significant digits."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
