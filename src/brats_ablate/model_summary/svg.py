"""SVG diagram of a composed network, from the shapes and the data flow of its forward pass.

A row is a resolution, finest on top. A box is a part with the channels and resolution of its output. An arrow is the
source of an input (`dataflow`). Boxes go to the right in execution order, which gives a U-Net its U.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from torch import nn

from brats_ablate.model_summary.ascii import (
    convolution,
    gate_of,
    layers_of,
    parameters_of,
    resolution,
    top_parts,
    with_channels,
)
from brats_ablate.model_summary.counts import ModuleCall
from brats_ablate.model_summary.dataflow import trace

CHARACTER, LINE, PAD = 6.65, 15, 8
"""Pixels: width of a character, height of a line of text, padding of a box."""
GAP, STEP, ROW_GAP, MARGIN, LABELS = 26, 30, 30, 16, 96
"""Pixels: between boxes of a row, from a box to one in another row, between rows, around all, for the rows' names."""
LEGEND = "box: channels × resolution of a part's output · arrow: source of its input"
NO_GRID = "no grid"
"""The row of parts whose output has no resolution: tokens, latent vectors."""

STYLE = """
text { font: 11px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; fill: #1f2328 }
.strong { font-weight: bold } .dim { fill: #59636e }
.paper { fill: #ffffff } .row { stroke: #d1d9e0; stroke-dasharray: 2 4 }
.part rect { fill: #eef4fb; stroke: #57799d } .head rect { fill: #fdf1e3; stroke: #ad7a39 }
.flow { fill: none; stroke: #6e7781; stroke-width: 1.3 } .tip { fill: #6e7781 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .dim { fill: #9ba6b1 } .paper { fill: #0d1117 } .row { stroke: #30363d }
  .part rect { fill: #17273a; stroke: #6f9bcb } .head rect { fill: #33260f; stroke: #d29d55 }
  .flow { stroke: #8b949e } .tip { fill: #8b949e }
}
"""


@dataclass
class Node:
    """One part, or the network's input, with its position and size in pixels."""

    name: str
    head: bool
    shape: Sequence[int]
    lines: list[str]
    sources: list[int]
    """Positions of the boxes that are its inputs."""
    skip: str
    """Label of a skip connection into it."""
    x: float = 0
    y: float = 0

    @property
    def row(self) -> str:
        """Name of the row, its resolution."""
        return resolution(self.shape) if len(self.shape) == 5 else NO_GRID

    @property
    def voxels(self) -> int:
        """Per channel; 0 without a grid."""
        return math.prod(self.shape[2:]) if len(self.shape) == 5 else 0

    @property
    def width(self) -> float:
        return max(len(line) for line in self.lines) * CHARACTER + 2 * PAD

    @property
    def height(self) -> float:
        return len(self.lines) * LINE + 2 * PAD - 3

    @property
    def middle(self) -> float:
        """Vertical position of the center."""
        return self.y + self.height / 2


def draw_svg(calls: Sequence[ModuleCall], input_shape: Sequence[int], title: str) -> str:
    """Return the text of the SVG file for the calls that `counts.count` recorded for an input (B, C, X, Y, Z)."""
    boxes = _boxes(calls, input_shape)
    tops = _place(boxes)
    legend_x = MARGIN + (len(title) + 3) * CHARACTER
    width = max(legend_x + len(LEGEND) * CHARACTER, *(box.x + box.width for box in boxes)) + MARGIN
    height = max(box.y + box.height for box in boxes) + MARGIN
    size = {"viewBox": f"0 0 {width:.0f} {height:.0f}", "width": f"{width:.0f}", "height": f"{height:.0f}"}
    root = ElementTree.Element("svg", {"xmlns": "http://www.w3.org/2000/svg"} | size | {"role": "img"})
    ElementTree.SubElement(root, "title").text = title
    ElementTree.SubElement(root, "style").text = STYLE
    at_its_end = {"refX": "7", "refY": "4", "markerWidth": "7", "markerHeight": "7", "orient": "auto"}
    marker = ElementTree.SubElement(root, "marker", {"id": "tip", "viewBox": "0 0 8 8"} | at_its_end)
    ElementTree.SubElement(marker, "path", {"class": "tip", "d": "M0 0 L8 4 L0 8 Z"})
    ElementTree.SubElement(root, "rect", {"class": "paper", "width": "100%", "height": "100%"})
    _text(root, title, MARGIN, MARGIN + 10, "strong")
    _text(root, LEGEND, legend_x, MARGIN + 10, "dim")
    for name, top in tops.items():
        ends = {"x1": f"{MARGIN}", "x2": f"{width - MARGIN:.0f}", "y1": f"{top:.0f}", "y2": f"{top:.0f}"}
        ElementTree.SubElement(root, "line", {"class": "row"} | ends)
        _text(root, name, MARGIN, top + LINE + 6, "strong")
    for box in boxes:
        for source in box.sources:
            _draw_flow(root, boxes, boxes[source], box)
    for box in boxes:
        _draw_box(root, box)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _boxes(calls: Sequence[ModuleCall], input_shape: Sequence[int]) -> list[Node]:
    parts = top_parts(calls)
    ours = any(part.name == "encoder.0" for part in parts)
    given = Node("input", False, input_shape, [with_channels(input_shape), "input"], [], "")
    return [given, *(_box(part, sources, calls, ours) for part, sources in zip(parts, trace(parts), strict=True))]


def _box(part: ModuleCall, sources: list[int], calls: Sequence[ModuleCall], ours: bool) -> Node:
    shape = part.outputs[0]
    lines = [with_channels(shape), part.name.removeprefix("network.")]
    if isinstance(part.module, nn.Conv3d):
        lines.append(convolution(part))
    elif ours:
        lines += layers_of(part, calls)
    else:
        lines += [type(part.module).__name__, parameters_of(part)]
    return Node(part.name, part.name.startswith("heads."), shape, lines, sources, gate_of(part, calls) or "skip")


def _place(boxes: Sequence[Node]) -> dict[str, float]:
    """Set the position of every box; return the upper edge of each row, finest resolution first."""
    voxels = {box.row: box.voxels for box in boxes}
    rows = sorted(voxels, key=lambda row: -voxels[row])
    free_from = dict.fromkeys(rows, float(MARGIN + LABELS - GAP))
    for box in boxes:
        beside = [boxes[s] for s in box.sources if boxes[s].row != box.row]
        label = (len(box.skip) + 4) * CHARACTER if _is_skipped_to(box, boxes) else GAP
        box.x = max([free_from[box.row] + label, *(source.x + STEP for source in beside)])
        for source in beside:  # either well above or below it, or clear of it
            end = source.x + source.width
            if end - 2 * PAD < box.x < end + GAP:
                box.x = end + GAP
        free_from[box.row] = box.x + box.width
    tops, top = {}, MARGIN + 26.0
    for row in rows:
        inside = [box for box in boxes if box.row == row]
        tops[row] = top
        for box in inside:
            box.y = top + ROW_GAP / 2
        top += max(box.height for box in inside) + ROW_GAP
    return tops


def _is_skipped_to(box: Node, boxes: Sequence[Node]) -> bool:
    """Return whether `box` joins its own resolution with a coarser one."""
    sources = [boxes[s] for s in box.sources]
    return any(s.row == box.row for s in sources) and any(s.voxels < box.voxels for s in sources)


def _draw_flow(root: ElementTree.Element, boxes: Sequence[Node], source: Node, box: Node) -> None:
    between = [b for b in boxes if min(source.y, box.y) < b.y < max(source.y, box.y)]
    beside = [b for b in boxes if b.row == source.row == box.row and source.x < b.x < box.x]
    left, right = max(source.x, box.x), min(source.x + source.width, box.x + box.width)
    end = source.x + source.width
    if source.row == box.row and not beside:
        path = f"M{end:.1f} {source.middle:.1f} H{box.x:.1f}"
        if _is_skipped_to(box, boxes):
            _text(root, box.skip, (end + box.x) / 2, source.middle - 5, "dim", anchor="middle")
    elif source.row == box.row:  # in a bow above what is between
        path = _curve((end - 10, source.y), (end + 10, box.y - 22), (box.x - 10, box.y - 22), (box.x + 10, box.y))
    elif between and right > left:  # in a bow to the left of what is between
        out = min(source.x, box.x) - 10 - 0.12 * abs(box.y - source.y)
        path = _curve((source.x, source.middle), (out, source.middle), (out, box.middle), (box.x, box.middle))
    elif right - left > 2 * PAD:
        x, down = (left + right) / 2, box.y > source.y
        path = f"M{x:.1f} {source.y + source.height * down:.1f} V{box.y + box.height * (not down):.1f}"
    else:
        bend = (end + box.x) / 2
        path = _curve((end, source.middle), (bend, source.middle), (bend, box.middle), (box.x, box.middle))
    attributes = {"class": "flow", "d": path, "marker-end": "url(#tip)", "data-from": source.name, "data-to": box.name}
    ElementTree.SubElement(root, "path", attributes)


def _curve(*points: tuple[float, float]) -> str:
    start, *others = (f"{x:.1f} {y:.1f}" for x, y in points)
    return f"M{start} C{' '.join(others)}"


def _draw_box(root: ElementTree.Element, box: Node) -> None:
    group = ElementTree.SubElement(root, "g", {"class": "head" if box.head else "part", "data-part": box.name})
    place = {"x": f"{box.x:.1f}", "y": f"{box.y:.1f}", "width": f"{box.width:.1f}", "height": f"{box.height:.1f}"}
    ElementTree.SubElement(group, "rect", place | {"rx": "4"})
    for number, line in enumerate(box.lines):
        style = ("strong", "dim")[number] if number < 2 else ""
        _text(group, line, box.x + PAD, box.y + PAD + 9 + number * LINE, style)


def _text(parent: ElementTree.Element, text: str, x: float, y: float, style: str, anchor: str = "start") -> None:
    attributes = {"x": f"{x:.1f}", "y": f"{y:.1f}", "class": style, "text-anchor": anchor}
    ElementTree.SubElement(parent, "text", attributes).text = text
