from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from brats_ablate.cases import BBox, CaseMetadata, Component, ImageGeometry, Shape3d
from brats_ablate.data.components import connected_components
from brats_ablate.errors import ConfigError
from brats_ablate.transforms.crop import BiasedCrop

IDENTITY = tuple(tuple(float(i == j) for j in range(4)) for i in range(4))


def record_of(shape: Shape3d, blobs: tuple[Component, ...] = ()) -> CaseMetadata:
    return CaseMetadata(
        case_id="case",
        patient_id="case",
        grid=ImageGeometry(shape, IDENTITY),
        box=BBox((0, 0, 0), shape),
        mean=(0.0,) * 4,
        std=(1.0,) * 4,
        has_labels=True,
        components=blobs,
    )


def windows(crop: BiasedCrop, record: CaseMetadata, n: int) -> list[BBox]:
    return [crop.sample_bbox(record, record.box.shape, (7, 1, index)) for index in range(n)]


def contains(window: BBox, box: BBox) -> bool:
    return all(a <= c and d <= b for a, b, c, d in zip(window.start, window.stop, box.start, box.stop, strict=True))


def small_component(tissue: int, at: Shape3d) -> Component:
    return Component(tissue, 1, BBox(at, (at[0] + 1, at[1] + 1, at[2] + 1)), (at,))


def test_uniform_windows_lie_inside_and_reach_every_start_equally_often() -> None:
    record = record_of((9, 12, 16))
    drawn = windows(BiasedCrop([5, 6, 7], 0.0), record, 6000)
    assert all(w.shape == (5, 6, 7) and contains(record.box, w) for w in drawn)
    for axis, starts in enumerate((5, 7, 10)):
        counts = Counter(w.start[axis] for w in drawn)
        assert sorted(counts) == list(range(starts))
        expected = 6000 / starts
        assert all(abs(c - expected) < 5 * expected**0.5 for c in counts.values())


def test_biased_windows_always_contain_the_component() -> None:
    blob = Component(3, 8, BBox((13, 2, 20), (16, 5, 21)), ((13, 2, 20),))
    record = record_of((20, 24, 30), (blob,))
    drawn = windows(BiasedCrop([5, 6, 7], 1.0), record, 500)
    assert all(contains(w, blob.box) and contains(record.box, w) for w in drawn)
    assert {w.start[0] for w in drawn} == {11, 12, 13}
    assert {w.start[1] for w in drawn} == {0, 1, 2}
    assert {w.start[2] for w in drawn} == set(range(14, 21))


def test_the_bias_has_its_probability() -> None:
    record = record_of((60, 60, 60), (small_component(1, (0, 0, 0)),))
    drawn = windows(BiasedCrop([6, 6, 6], 0.4), record, 3000)
    share = sum(w.start == (0, 0, 0) for w in drawn) / 3000
    assert abs(share - 0.4) < 4 * (0.4 * 0.6 / 3000) ** 0.5


def test_tissues_are_drawn_equally_often_regardless_of_their_components() -> None:
    blobs = (*(small_component(1, (2 * i, 0, 0)) for i in range(9)), small_component(3, (0, 40, 0)))
    record = record_of((50, 50, 50), blobs)
    drawn = windows(BiasedCrop([2, 2, 2], 1.0), record, 2000)
    share = sum(w.start[1] >= 39 for w in drawn) / 2000
    assert abs(share - 0.5) < 4 * 0.5 / 2000**0.5


def test_a_window_inside_a_longer_component_contains_one_of_its_voxels() -> None:
    # A thin diagonal: most windows inside its bounding box would miss it.
    depth = np.zeros((40, 40, 40), dtype=np.uint8)
    index = np.arange(4, 36)
    depth[index, index, index] = 2
    record = record_of((40, 40, 40), connected_components(depth))
    drawn = windows(BiasedCrop([8, 8, 8], 1.0), record, 300)
    assert all(depth[w.slices].any() and w.shape == (8, 8, 8) for w in drawn)
    assert len({w.start for w in drawn}) > 100


def test_a_component_that_is_long_on_one_axis_is_whole_on_the_others() -> None:
    depth = np.zeros((40, 20, 20), dtype=np.uint8)
    depth[3:37, 8:11, 9:12] = 1
    (blob,) = connected_components(depth)
    for w in windows(BiasedCrop([8, 8, 8], 1.0), record_of((40, 20, 20), (blob,)), 200):
        assert 3 <= w.start[0] <= 37 - 8
        assert depth[w.slices].sum() == 8 * 3 * 3


def test_a_volume_shorter_than_the_patch_is_inside_the_window_at_every_offset() -> None:
    record = record_of((4, 20, 7), (small_component(2, (1, 10, 3)),))
    for p in (0.0, 1.0):
        drawn = windows(BiasedCrop([6, 6, 7], p), record, 300)
        assert {w.start[0] for w in drawn} == {-2, -1, 0}
        assert {w.start[2] for w in drawn} == {0}
        assert all(w.shape == (6, 6, 7) and w.start[1] >= 0 and w.stop[1] <= 20 for w in drawn)


def test_a_window_depends_on_its_sample_key_only() -> None:
    record = record_of((60, 60, 60), (small_component(1, (30, 30, 30)),))
    crop = BiasedCrop([6, 6, 6], 0.4)
    first = [crop.sample_bbox(record, (60, 60, 60), (1, 2, i)) for i in range(20)]
    again = [BiasedCrop([6, 6, 6], 0.4).sample_bbox(record, (60, 60, 60), (1, 2, i)) for i in reversed(range(20))]
    assert first == again[::-1]
    assert first != [crop.sample_bbox(record, (60, 60, 60), (1, 3, i)) for i in range(20)]
    assert first != [crop.sample_bbox(record, (60, 60, 60), (2, 2, i)) for i in range(20)]


@pytest.mark.parametrize(
    ("shape", "p", "named"),
    [
        ([8, 8], 0.4, "patches.shape"),
        ([8, 0, 8], 0.4, "patches.shape"),
        ([8, 8, 8], 1.4, "tumour_probability"),
    ],
)
def test_impossible_arguments_are_refused_by_name(shape: list[int], p: float, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        BiasedCrop(shape, p)
