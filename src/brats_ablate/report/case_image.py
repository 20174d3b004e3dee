"""Draw slices of a case: contours on the images, label maps, and errors. Arrays in, an image out; no files.

A row is a plane, and all rows have one scale in mm. Used by `job=pictures` and, during training, by
`jobs.train.validation_image`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from brats_ablate.report.planes import CaseSlice

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

Color = tuple[int, int, int]

TISSUE_COLORS = ((33, 145, 140), (59, 82, 139), (253, 231, 37), (214, 69, 65), (245, 150, 60), (180, 220, 120))
"""By stored label from 1 on, as in the paper's Fig. 7: ED turquoise, NCR blue, ET yellow; others follow, in turn where
a scheme has more tissues than colors."""
PREDICTED, REFERENCE, BOTH = (255, 140, 0), (0, 180, 255), (255, 255, 255)
"""Of contours. What only one of the two has is an error of the same color: false positive, false negative."""
WRONG_TISSUE, CORRECT = (220, 60, 190), (0, 130, 95)

_PANEL, _GAP, _LINE = 320, 4, 24
"""Width of the widest panel, gap between panels, and height of a line of text, in pixels."""
_DIMMED = 0.6
"""Brightness of the image below labels and errors."""
_BARS_MM = (100, 50, 20, 10, 5, 2, 1)
"""Lengths of the scale bar; the first that a third of a panel can hold is drawn."""


def draw_case(slices: Sequence[CaseSlice], caption: str, tissues: Sequence[str]) -> Image:
    """Draw one row for each slice, all with the same modalities, with caption and legend below.

    `tissues` are the names of the stored labels 1, 2, …, for the legend.
    """
    from PIL import Image, ImageDraw

    scale = _PANEL / max(s.predicted.shape[1] * s.pixel_mm[1] for s in slices)
    rows = [_panels(s, scale) for s in slices]
    heights = [next(iter(panels.values())).shape[0] for panels in rows]
    width = len(rows[0]) * (_PANEL + _GAP) - _GAP
    legend = _lines(_legend(slices[0].reference is not None, tissues), width)
    top, bottom = _LINE, _LINE + sum(heights) + _GAP * (len(rows) - 1)
    picture = Image.new("RGB", (width, bottom + _LINE * (1 + len(legend))), "white")
    draw = ImageDraw.Draw(picture)
    for column, title in enumerate(rows[0]):
        draw.text((column * (_PANEL + _GAP) + _PANEL // 2, top // 2), title, "black", _font(), "mm")
    for s, panels, height in zip(slices, rows, heights, strict=True):
        for column, panel in enumerate(panels.values()):
            left = column * (_PANEL + _GAP)
            draw.rectangle((left, top, left + _PANEL - 1, top + height - 1), fill="black")
            picture.paste(Image.fromarray(panel), (left + (_PANEL - panel.shape[1]) // 2, top))
            _annotate(draw, (left, top, height), s.plane.left, s.plane.right)
        _outlined(draw, (6, top + 4), ", ".join(filter(None, (s.plane.name, s.position))), "la")
        top += height + _GAP
    _scale_bar(draw, bottom, scale)
    draw.text((4, bottom + _LINE // 2), caption, "black", _font(), "lm")
    for number, line in enumerate(legend, start=1):
        _draw_legend(draw, bottom + _LINE * number, line)
    return picture


def gray(image: np.ndarray) -> np.ndarray:
    """Map the raw values of a volume to uint8; the brightest 0.5 % of the brain saturate."""
    import numpy as np

    brain = image[image != 0]
    low, high = (float(brain.min()), float(np.percentile(brain, 99.5))) if brain.size else (0.0, 1.0)
    scaled = np.clip((image - min(low, 0.0)) / max(high - min(low, 0.0), 1e-6), 0, 1)
    return (scaled * 255).astype(np.uint8)


def contours(labels: np.ndarray) -> np.ndarray:
    """Return the mask of the pixels of (rows, columns) labels on either side of a border between two labels."""
    import numpy as np

    border = np.zeros(labels.shape, dtype=bool)
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differs = labels[one] != labels[other]
        border[one] |= differs
        border[other] |= differs
    return border


def tissue_color(label: int) -> Color:
    """Return the color of a stored label from 1 on."""
    return TISSUE_COLORS[(label - 1) % len(TISSUE_COLORS)]


def _panels(s: CaseSlice, scale: float) -> dict[str, np.ndarray]:
    """Return title -> (rows, columns, 3) uint8, with `scale` pixels per mm."""
    import numpy as np
    from PIL import Image

    rows, columns = s.predicted.shape
    size = (max(1, round(columns * s.pixel_mm[1] * scale)), max(1, round(rows * s.pixel_mm[0] * scale)))

    def resized(pixels: np.ndarray, method: Image.Resampling = Image.Resampling.NEAREST) -> np.ndarray:
        return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize(size, method))

    smooth = {name: resized(image, Image.Resampling.BICUBIC) for name, image in s.images.items()}
    images = {
        name.upper().replace("T1CE", "T1ce"): np.repeat(image[..., None], 3, axis=2) for name, image in smooth.items()
    }
    dimmed = (next(iter(images.values())) * _DIMMED).astype(np.uint8)
    predicted = resized(s.predicted)
    reference = None if s.reference is None else resized(s.reference)
    edges = [(contours(predicted), PREDICTED)]
    if reference is not None:
        border = contours(reference)
        edges += [(border, REFERENCE), (border & edges[0][0], BOTH)]
    panels = {name: _painted(image, edges) for name, image in images.items()}
    panels["prediction"] = _painted(dimmed, _tissues(predicted))
    if reference is not None:
        panels["reference"] = _painted(dimmed, _tissues(reference))
        panels["errors"] = _painted(dimmed, _errors(predicted, reference))
    return panels


def _painted(image: np.ndarray, masks: Sequence[tuple[np.ndarray, Color]]) -> np.ndarray:
    painted = image.copy()
    for mask, color in masks:
        painted[mask] = color
    return painted


def _tissues(labels: np.ndarray) -> list[tuple[np.ndarray, Color]]:
    return [(labels == k, tissue_color(k)) for k in range(1, int(labels.max(initial=0)) + 1)]


def _errors(predicted: np.ndarray, reference: np.ndarray) -> list[tuple[np.ndarray, Color]]:
    p, r = predicted > 0, reference > 0
    return [
        (p & r & (predicted == reference), CORRECT),
        (p & r & (predicted != reference), WRONG_TISSUE),
        (p & ~r, PREDICTED),
        (r & ~p, REFERENCE),
    ]


# ---- text


def _font() -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(15)


def _outlined(draw: ImageDraw, at: tuple[float, float], text: str, anchor: str) -> None:
    """Write white text that is legible on any pixels."""
    draw.text(at, text, "white", _font(), anchor, stroke_width=2, stroke_fill="black")


def _annotate(draw: ImageDraw, panel: tuple[int, int, int], left: str, right: str) -> None:
    x, top, height = panel
    _outlined(draw, (x + 5, top + height / 2), left, "lm")
    _outlined(draw, (x + _PANEL - 6, top + height / 2), right, "rm")


def _scale_bar(draw: ImageDraw, bottom: int, scale: float) -> None:
    """Draw a bar of a round length into the lower left panel."""
    length = next((mm for mm in _BARS_MM if mm * scale <= _PANEL / 3), _BARS_MM[-1])
    right = 8 + round(length * scale)
    draw.rectangle((7, bottom - 11, right + 1, bottom - 7), fill="black")
    draw.rectangle((8, bottom - 10, right, bottom - 8), fill="white")
    _outlined(draw, (8, bottom - 14), f"{length} mm", "ld")


LegendItem = tuple[str, Color, bool]
"""Text, color, and whether it is a line and not an area."""


def _legend(has_reference: bool, tissues: Sequence[str]) -> list[LegendItem]:
    items: list[LegendItem] = [("prediction", PREDICTED, True)]
    if has_reference:
        items += [("reference", REFERENCE, True), ("both", BOTH, True)]
    items += [(name, tissue_color(k), False) for k, name in enumerate(tissues, start=1)]
    if has_reference:
        items += [("false positive", PREDICTED, False), ("false negative", REFERENCE, False)]
        items += [("wrong tissue", WRONG_TISSUE, False)] * (len(tissues) > 1) + [("correct", CORRECT, False)]
    return items


def _lines(items: Sequence[LegendItem], width: int) -> list[list[tuple[int, LegendItem]]]:
    """Return the items with their x, in as many lines as they need."""
    lines: list[list[tuple[int, LegendItem]]] = [[]]
    x = 4
    for item in items:
        needed = 38 + round(_font().getlength(item[0]))
        if lines[-1] and x + needed > width:
            lines.append([])
            x = 4
        lines[-1].append((x, item))
        x += needed
    return lines


def _draw_legend(draw: ImageDraw, top: int, line: Sequence[tuple[int, LegendItem]]) -> None:
    for x, (text, color, is_line) in line:
        middle = top + _LINE // 2
        if is_line:
            draw.rectangle((x, middle - 5, x + 18, middle + 5), fill="black")
            draw.line((x, middle, x + 18, middle), color, 2)
        else:
            draw.rectangle((x + 5, middle - 6, x + 18, middle + 6), fill=color)
        draw.text((x + 24, middle), text, "black", _font(), "lm")
