"""Summaries of experiments as Markdown (table, notes, diagrams) and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from brats_ablate.model_summary.counts import Counts
from brats_ablate.model_summary.timings import Timing


@dataclass(frozen=True)
class Description:
    """One experiment: its question, its differences from the baseline, its network and the cost."""

    name: str
    question: str | None
    paper: str | None
    baseline: str | None
    changes: tuple[str, ...]
    """`key=value` for each setting that differs from the baseline."""
    counts: Counts
    diagram: str
    """The network in text."""
    svg: str
    timing: Timing | None


@dataclass(frozen=True)
class Provenance:
    """Command and measuring conditions, printed with the figures."""

    command: str
    patch: str
    timing: str | None
    """A sentence on machine, size and precision; None without timings."""


IMAGES = "images"
"""The folder of the SVG files, next to the Markdown."""

COLUMNS = (
    *("experiment", "baseline", "differs", "parameters", "forward_gflop", "activation_gib"),
    *("forward_s", "step_s", "forward_ratio", "step_ratio"),
)


def csv_text(descriptions: Sequence[Description]) -> str:
    """Return one row per experiment; timings are empty where they were not measured."""
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


def markdown(descriptions: Sequence[Description], provenance: Provenance) -> str:
    """Return the table, notes on its figures, then the question and the diagram of each experiment."""
    parts = [
        "# Variants",
        f"Written by `{provenance.command}`; do not edit.",
        table(descriptions),
        _notes(provenance),
        "## Networks",
        "Each diagram is derived from the shapes in a forward pass of the composed network. A row of a U-Net is one "
        "resolution, as in the paper's Fig. 2; `3³/2 32→64` is a convolution of kernel 3³ and stride 2 from 32 to 64 "
        "channels, `up` a transposed one, `+` a parallel shortcut. In the images a box is the output of a part, and an "
        "arrow the traced source of its input. MONAI's networks are drawn by their own parts.",
    ]
    for d in descriptions:
        lines = [f"### {d.name}"]
        if d.question:
            lines.append(d.question + (f" Paper: {d.paper}." if d.paper else ""))
        lines += [f"```\n{d.diagram}\n```", f"![{d.name}]({IMAGES}/{d.name}.svg)"]
        parts += lines
    return "\n\n".join(parts) + "\n"


def table(descriptions: Sequence[Description]) -> str:
    """Return the Markdown table alone."""
    timed = any(d.timing for d in descriptions)
    head = ["experiment", "baseline", "differences", "parameters, M", "GFLOP", "activations, GiB"]
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


def _notes(provenance: Provenance) -> str:
    notes = [
        f"Parameters, GFLOP and activations are counted, not measured, for one {provenance.patch}. "
        "GFLOP: convolutions and matrix products of one training-mode forward (a VAE branch included), a "
        "multiplication and an addition are two; a training step takes about three times as many.",
        "Activations: saved by the forward for the backward pass, in float32; about half of it in bf16 or fp16.",
    ]
    if provenance.timing:
        notes.append(provenance.timing)
    return "\n".join(f"- {note}" for note in notes)
