"""Draw one axial slice of a case as panels: image, prediction, reference. Arrays in, an image out; no files.

Used by `job=pictures` and, during training, by `jobs.train.validation_image`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

COLORS = ((68, 1, 84), (33, 145, 140), (59, 82, 139), (253, 231, 37), (214, 69, 65), (245, 150, 60), (180, 220, 120))
"""By stored label, as in the paper's Fig. 7: background purple, ED turquoise, NCR blue, ET yellow; others follow, in
turn where a scheme has more tissues than colors."""

_HEIGHT, _CAPTION, _GAP = 384, 26, 6


def largest_tumor_slice(labels: np.ndarray) -> int:
    """Return the axial slice of (X, Y, Z) labels with the largest tumor area; the middle one if there is no tumor."""
    tumor = labels > 0
    return int(tumor.sum(axis=(0, 1)).argmax()) if tumor.any() else labels.shape[2] // 2


def draw_slice(
    modality: str,
    image: np.ndarray,
    predicted: np.ndarray,
    reference: np.ndarray | None,
    caption: str,
    tissues: Sequence[str],
) -> Image:
    """Draw an image (X, Y), RAS+, and the label maps predicted and, where the case has any, of the reference.

    `tissues` are the names of the stored labels 1, 2, …, for the legend.
    """
    labels = {"prediction": predicted} | ({} if reference is None else {"reference": reference})
    panels = [gray(image), *map(colored, labels.values())]
    return compose_panels(panels, [modality.upper(), *labels], caption, tissues)


def _color(label: int) -> tuple[int, int, int]:
    return COLORS[1 + (label - 1) % (len(COLORS) - 1)]


def gray(image: np.ndarray) -> np.ndarray:
    """Map (X, Y) raw values to (X, Y, 3) uint8; the brightest 0.5 % saturate."""
    import numpy as np

    brain = image[image != 0]
    low, high = (float(brain.min()), float(np.percentile(brain, 99.5))) if brain.size else (0.0, 1.0)
    scaled = np.clip((image - min(low, 0.0)) / max(high - min(low, 0.0), 1e-6), 0, 1)
    return np.repeat((scaled * 255).astype(np.uint8)[..., None], 3, axis=2)


def colored(labels: np.ndarray) -> np.ndarray:
    """Map (X, Y) label maps to (X, Y, 3) uint8 in `COLORS`."""
    import numpy as np

    return np.asarray(np.array([COLORS[0], *(_color(k) for k in range(1, 256))], dtype=np.uint8)[labels])


def compose_panels(panels: list[np.ndarray], titles: list[str], caption: str, tissues: Sequence[str]) -> Image:
    """Draw (X, Y, 3) panels of one shape, RAS+, in radiological orientation: front up, right on the left."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(15)
    upright = [np.ascontiguousarray(np.flip(p.transpose(1, 0, 2), axis=(0, 1))) for p in panels]
    width = round(_HEIGHT * upright[0].shape[1] / upright[0].shape[0])
    size = (len(panels) * (width + _GAP) - _GAP, _HEIGHT + 2 * _CAPTION)
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for i, (panel, title) in enumerate(zip(upright, titles, strict=True)):
        left = i * (width + _GAP)
        scaled = Image.fromarray(panel).resize((width, _HEIGHT), Image.Resampling.NEAREST)
        picture.paste(scaled, (left, _CAPTION))
        draw.text((left + 4, 5), title, "black", font=font)
    draw.text((4, _HEIGHT + _CAPTION + 5), caption, "black", font=font)
    right = size[0] - 4
    for name, color in reversed([(name, _color(k)) for k, name in enumerate(tissues, start=1)]):
        right -= round(font.getlength(name)) + 22
        draw.rectangle((right, _HEIGHT + _CAPTION + 6, right + 12, _HEIGHT + _CAPTION + 18), fill=color)
        draw.text((right + 16, _HEIGHT + _CAPTION + 4), name, "black", font=font)
    return picture
