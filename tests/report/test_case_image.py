"""Pictures of hand-made slices: which pixels have which color, and their proportions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from brats_ablate.report.case_image import (
    BOTH,
    CORRECT,
    PREDICTED,
    REFERENCE,
    TISSUE_COLORS,
    WRONG_TISSUE,
    Color,
    contours,
    draw_case,
    gray,
    tissue_color,
)
from brats_ablate.report.planes import AXIAL, PLANES, CaseSlice

PANEL, GAP, LINE = 320, 4, 24
TISSUES = ("ED", "NCR", "ET")


def a_slice(
    size: int = 16, pixel_mm: tuple[float, float] = (1, 1), modalities: tuple[str, ...] = ("t1ce", "flair")
) -> CaseSlice:
    """Voxel by voxel: correct ED in (2, 2), NCR predicted as ET in (4, 4), false positive (6, 6), false negative (8, 8)."""
    predicted, reference = np.zeros((2, size, size), np.uint8)
    predicted[2, 2] = reference[2, 2] = 1
    predicted[4, 4], reference[4, 4] = 3, 2
    predicted[6, 6] = 1
    reference[8, 8] = 2
    images = {m: np.full((size, size), 255, np.uint8) for m in modalities}
    return CaseSlice(AXIAL, images, predicted, reference, pixel_mm)


def panels(picture: np.ndarray, height: int, row: int = 0) -> list[np.ndarray]:
    """The panels of a row, without annotations: every row has the same height."""
    top = LINE + row * (height + GAP)
    count = (picture.shape[1] + GAP) // (PANEL + GAP)
    return [picture[top : top + height, i * (PANEL + GAP) : i * (PANEL + GAP) + PANEL] for i in range(count)]


def at(panel: np.ndarray, row: int, column: int, size: int = 16) -> Color:
    """The color in the middle of a voxel of a square panel."""
    edge = PANEL // size
    r, g, b = (int(v) for v in panel[row * edge + edge // 2, column * edge + edge // 2])
    return (r, g, b)


def test_labels_and_errors_have_their_colors() -> None:
    drawn = np.asarray(draw_case([a_slice()], "case", TISSUES))
    t1ce, flair, prediction, reference, errors = panels(drawn, PANEL)
    gray = at(prediction, 12, 12)
    assert gray[0] == gray[1] == gray[2] == int(255 * 0.6)
    ed, ncr, et = TISSUE_COLORS[:3]
    voxels = [(2, 2), (4, 4), (6, 6), (8, 8), (12, 12)]
    assert [at(prediction, *voxel) for voxel in voxels] == [ed, et, ed, gray, gray]
    assert [at(reference, *voxel) for voxel in voxels] == [ed, ncr, gray, ncr, gray]
    assert [at(errors, *voxel) for voxel in voxels] == [CORRECT, WRONG_TISSUE, PREDICTED, REFERENCE, gray]
    for image in (t1ce, flair):
        assert {at(image, *voxel) for voxel in voxels} == {(255, 255, 255)}  # contours leave the image visible


def test_contours_are_of_one_side_or_of_both() -> None:
    dark = replace(a_slice(), images={"t1ce": np.zeros((16, 16), np.uint8)})
    image = panels(np.asarray(draw_case([dark], "case", TISSUES)), PANEL)[0]
    edge = PANEL // 16
    borders = {voxel: image[voxel * edge : (voxel + 1) * edge, voxel * edge] for voxel in (2, 4, 6, 8, 12)}
    colors = {voxel: {tuple(int(v) for v in pixel) for pixel in border} for voxel, border in borders.items()}
    assert colors == {2: {BOTH}, 4: {BOTH}, 6: {PREDICTED}, 8: {REFERENCE}, 12: {(0, 0, 0)}}


def test_a_contour_is_every_pixel_next_to_another_label() -> None:
    labels = np.random.default_rng(0).integers(0, 3, (9, 11)).astype(np.uint8)
    padded = np.pad(labels, 1, mode="edge")
    expected = [
        [any(padded[r + 1 + dr, c + 1 + dc] != labels[r, c] for dr, dc in ((0, 1), (0, -1), (1, 0), (-1, 0))) for c in range(11)]
        for r in range(9)
    ]  # fmt: skip
    np.testing.assert_array_equal(contours(labels), expected)


@pytest.mark.parametrize("pixel_mm", [(1.0, 1.0), (3.0, 1.0), (0.5, 2.0)])
def test_a_millimeter_is_as_long_in_both_directions(pixel_mm: tuple[float, float]) -> None:
    size = 16
    drawn = np.asarray(draw_case([a_slice(size, pixel_mm)], "case", TISSUES))
    height = round(PANEL * pixel_mm[0] / pixel_mm[1])
    assert drawn.shape[0] == height + LINE * 3  # title, caption, legend
    false_positive = (panels(drawn, height)[4] == PREDICTED).all(axis=-1)
    rows, columns = (np.flatnonzero(false_positive.any(axis=axis)) for axis in (1, 0))
    assert len(rows) / len(columns) == pytest.approx(pixel_mm[0] / pixel_mm[1])
    assert (rows[0], columns[0]) == (6 * len(rows), 6 * len(columns))


def test_all_planes_have_one_scale() -> None:
    wide, narrow = a_slice(16), a_slice(8 + 2, (1.0, 1.0))
    planes = [replace(wide, plane=PLANES[0]), replace(narrow, plane=PLANES[1])]
    drawn = np.asarray(draw_case(planes, "case", TISSUES))
    below = drawn[LINE + PANEL + GAP :][: PANEL * 10 // 16]
    counts = [
        int((part[:, 4 * (PANEL + GAP) :] == PREDICTED).all(axis=-1).sum())
        for part in (drawn[LINE : LINE + PANEL], below)
    ]
    assert counts == [20 * 20] * 2
    left = np.flatnonzero((below[:, 4 * (PANEL + GAP) :] == PREDICTED).all(axis=-1).any(axis=0))[0]
    assert left == (PANEL - 10 * 20) // 2 + 6 * 20  # centered


def test_a_case_without_reference_has_neither_reference_nor_errors() -> None:
    new = replace(a_slice(modalities=("adc",)), reference=None)
    drawn = np.asarray(draw_case([new], "case", TISSUES))
    assert drawn.shape[1] == 2 * PANEL + GAP
    _, prediction = panels(drawn, PANEL)
    assert at(prediction, 6, 6) == TISSUE_COLORS[0]
    shown = {tuple(int(v) for v in pixel) for pixel in np.unique(drawn.reshape(-1, 3), axis=0)}
    assert PREDICTED in shown
    assert not {REFERENCE, CORRECT, WRONG_TISSUE} & shown


def test_letters_are_at_the_edges_of_every_panel() -> None:
    dark = replace(a_slice(), images={"t1ce": np.zeros((16, 16), np.uint8)})
    nothing = np.zeros((16, 16), np.uint8)
    dark = replace(dark, predicted=nothing, reference=nothing)
    lettered = panels(np.asarray(draw_case([dark], "", TISSUES)), PANEL)
    bare = panels(np.asarray(draw_case([replace(dark, plane=replace(AXIAL, left="", right=""))], "", TISSUES)), PANEL)
    for with_letters, without in zip(lettered, bare, strict=True):
        columns = np.flatnonzero((with_letters != without).any(axis=(0, 2)))
        assert columns.min() < 15
        assert columns.max() > PANEL - 15
        assert not ((columns > 25) & (columns < PANEL - 25)).any()


def test_more_tissues_than_colors_repeat_and_the_legend_wraps() -> None:
    assert tissue_color(len(TISSUE_COLORS) + 1) == TISSUE_COLORS[0]
    tissues = [f"tissue {k}" for k in range(1, 30)]
    drawn = draw_case([replace(a_slice(), predicted=np.full((16, 16), 30, np.uint8))], "case", tissues)
    assert drawn.height > PANEL + 3 * LINE


def test_one_tissue_cannot_be_wrong() -> None:
    one = np.asarray(draw_case([a_slice()], "case", ("GTV",)))[-LINE:]
    three = np.asarray(draw_case([a_slice()], "case", TISSUES))[-LINE:]
    assert not (one == WRONG_TISSUE).all(axis=-1).any()
    assert (three == WRONG_TISSUE).all(axis=-1).any()


def test_gray_is_linear_from_zero_and_the_brightest_saturate() -> None:
    volume = np.zeros((10, 10, 20), np.int16)
    volume[:, :, 10:] = np.arange(1000).reshape(10, 10, 10) + 1
    brightness = gray(volume)
    top = np.percentile(np.arange(1, 1001), 99.5)
    np.testing.assert_array_equal(brightness, np.floor(np.clip(volume / top, 0, 1) * 255))
    assert (brightness == 255).sum() == 5
    assert gray(volume.astype(np.float32) - 2000)[0, 0, 19] > 0  # also of negative values
    assert (gray(np.zeros((2, 2, 2), np.int16)) == 0).all()
