"""Descriptions of experiments as Markdown (table, notes, drawings) and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from brats_ablate.model_summary.counts import Counts
from brats_ablate.model_summary.timings import Timing


@dataclass(frozen=True)
class Description:
    """One experiment: what it asks, what it exchanges, what its network is and costs."""

    name: str
    question: str | None
    paper: str | None
    baseline: str | None
    changes: tuple[str, ...]
    """`group=option` for each group that differs from the baseline."""
    counts: Counts
    drawing: str
    """The network in text."""
    picture: str
    """The network as SVG."""
    timing: Timing | None


@dataclass(frozen=True)
class Conditions:
    """What the figures of a report were taken with, said in it."""

    command: str
    patch: str
    timing: str | None
    """One sentence on machine, size and precision; None without timings."""


PICTURES = "images"
"""The folder of the SVG files, beside the Markdown."""

COLUMNS = (
    *("experiment", "baseline", "differs", "parameters", "forward_gflop", "activation_gib"),
    *("forward_s", "step_s", "forward_ratio", "step_ratio"),
)


def csv_text(descriptions: Sequence[Description]) -> str:
    """One row per experiment; timings are empty where they were not taken."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for d in descriptions:
        times = ["", "", "", ""]
        if (t := d.timing) is not None:
            times = [f"{v:.4g}" for v in (t.forward_s, t.step_s, t.forward_ratio, t.step_ratio)]
        gflop, gib = d.counts.forward_flop / 1e9, d.counts.activation_bytes / 2**30
        row = [
            d.name,
            d.baseline or "",
            " ".join(d.changes),
            d.counts.parameters,
            f"{gflop:.1f}",
            f"{gib:.3f}",
        ]
        writer.writerow([*row, *times])
    return text.getvalue()


def markdown(descriptions: Sequence[Description], conditions: Conditions) -> str:
    """The table, how its figures were taken, then the question and the drawing of each experiment."""
    parts = [
        "# Variants",
        f"Written by `{conditions.command}`; do not edit.",
        table(descriptions),
        _notes(conditions),
        "## Networks",
        "Each drawing is made from the shapes that passed through the composed network. A U-Net's row is one "
        "resolution, as in the paper's Fig. 2; `3³/2 32→64` is a convolution of kernel 3³ and stride 2 from 32 to 64 "
        "channels, `up` a transposed one, `+` a shortcut beside the others. In the pictures a box is what a part puts "
        "out, and an arrow where its input was traced to. MONAI's networks are drawn by their own parts.",
    ]
    for d in descriptions:
        lines = [f"### {d.name}"]
        if d.question:
            lines.append(f"{d.question} Paper: {d.paper}.")
        lines += [f"```\n{d.drawing}\n```", f"![{d.name}]({PICTURES}/{d.name}.svg)"]
        parts += lines
    return "\n\n".join(parts) + "\n"


def table(descriptions: Sequence[Description]) -> str:
    """The Markdown table alone."""
    timed = any(d.timing for d in descriptions)
    head = ["experiment", "differs from", "in", "parameters, M", "GFLOP", "activations, GiB"]
    head += ["forward ×", "training step ×"] if timed else []
    rows = [head, ["---"] * 3 + ["---:"] * (len(head) - 3)]
    for d in descriptions:
        row = [
            d.name,
            d.baseline or "–",
            ", ".join(f"`{change}`" for change in d.changes) or "–",
            f"{d.counts.parameters / 1e6:.2f}",
            f"{d.counts.forward_flop / 1e9:,.0f}",
            f"{d.counts.activation_bytes / 2**30:.2f}",
        ]
        if timed:
            row += [f"{d.timing.forward_ratio:.2f}", f"{d.timing.step_ratio:.2f}"] if d.timing else ["–", "–"]
        rows.append(row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _notes(conditions: Conditions) -> str:
    notes = [
        f"Parameters, GFLOP and activations are counted, not measured, for one {conditions.patch}. "
        "GFLOP: convolutions and matrix products of one training-mode forward (a VAE branch included), a "
        "multiplication and an addition being two; a training step takes about three times as many.",
        "Activations: what the forward keeps for the backward, in float32; about half of it in bf16 or fp16.",
    ]
    if conditions.timing:
        notes.append(conditions.timing)
    return "\n".join(f"- {note}" for note in notes)
