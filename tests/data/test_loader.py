from __future__ import annotations

import threading
import time
from collections import Counter
from itertools import islice

import numpy as np
import pytest

from brats_ablate.cases import BBox, CaseMetadata, ImageGeometry, Patch
from brats_ablate.data.components import connected_components
from brats_ablate.data.loader import PatchLoader, read_window
from brats_ablate.errors import DataError
from brats_ablate.transforms.crop import BiasedCrop

IDENTITY = tuple(tuple(float(i == j) for j in range(4)) for i in range(4))


class MemoryStore:
    """Cases of unequal shapes in memory; `broken` ones fail to be read."""

    def __init__(self, cases: int, broken: dict[str, Exception] | None = None) -> None:
        self.broken = broken or {}
        self.reads = 0
        self.images: dict[str, np.ndarray] = {}
        self.labels: dict[str, np.ndarray] = {}
        for i in range(cases):
            rng = np.random.default_rng(i)
            shape = (9 + i % 3, 12, 4 if i % 4 == 0 else 16)
            self.images[f"case{i}"] = rng.integers(1, 999, (4, *shape)).astype(np.int16)
            self.labels[f"case{i}"] = (rng.random(shape) < 0.02).astype(np.uint8)

    @property
    def case_ids(self) -> list[str]:
        return list(self.images)

    def record(self, case_id: str) -> CaseMetadata:
        shape = self.labels[case_id].shape
        blobs = connected_components(self.labels[case_id])
        mean = (float(case_id[4:]),) * 4
        grid = ImageGeometry(shape, IDENTITY)
        return CaseMetadata(case_id, case_id, grid, BBox((0, 0, 0), shape), mean, (2.0,) * 4, True, blobs)

    def read_images(self, case_id: str, box: BBox | None = None) -> np.ndarray:
        self.reads += 1
        if case_id in self.broken:
            raise self.broken[case_id]
        if box is None:
            return self.images[case_id]
        assert all(0 <= a < b <= n for a, b, n in zip(box.start, box.stop, self.labels[case_id].shape, strict=True))
        return self.images[case_id][(slice(None), *box.slices)]

    def read_labels(self, case_id: str, box: BBox | None = None) -> np.ndarray:
        return self.labels[case_id] if box is None else self.labels[case_id][box.slices]


def loader_of(store: MemoryStore, **changes: int) -> PatchLoader:
    arguments = {"seed": 0, "batch_size": 1, "crops_per_case": 1, "rank": 0, "world_size": 1, "threads": 0}
    return PatchLoader(store, store.case_ids, BiasedCrop([5, 6, 7], 0.4), **{**arguments, **changes})


def assert_same(one: list[Patch], other: list[Patch]) -> None:
    assert [(p.case_id, p.sample_key, p.mean, p.std) for p in one] == [
        (p.case_id, p.sample_key, p.mean, p.std) for p in other
    ]
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.labels, b.labels)


def flat(batches: list[list[Patch]]) -> list[Patch]:
    return [patch for batch in batches for patch in batch]


def test_an_epoch_contains_every_case_equally_often_in_its_own_order() -> None:
    loader = loader_of(MemoryStore(8), batch_size=2, crops_per_case=3)
    assert loader.steps_per_epoch == 12
    orders = []
    for epoch in range(3):
        batches = list(loader.epoch(epoch))
        assert len(batches) == 12
        assert all(len(b) == 2 for b in batches)
        ids = [p.case_id for p in flat(batches)]
        assert set(Counter(ids).values()) == {3}
        orders.append(ids)
    assert len({tuple(order) for order in orders}) == 3


def test_a_patch_is_cut_from_its_case() -> None:
    store = MemoryStore(8)
    loader = loader_of(store)
    for (patch,) in loader.epoch(0):
        assert patch.images.shape == (4, 5, 6, 7)
        assert patch.images.dtype == np.int16
        assert patch.labels.shape == (5, 6, 7)
        assert patch.labels.dtype == np.uint8
        record = store.record(patch.case_id)
        assert (patch.mean, patch.std) == (record.mean, record.std)
        window = BiasedCrop([5, 6, 7], 0.4).sample_bbox(record, record.box.shape, patch.sample_key)
        padded = np.pad(store.images[patch.case_id], [(0, 0)] + [(7, 7)] * 3)
        x, y, z = (slice(s.start + 7, s.stop + 7) for s in window.slices)
        np.testing.assert_array_equal(patch.images, padded[:, x, y, z])
        np.testing.assert_array_equal(patch.labels, np.pad(store.labels[patch.case_id], 7)[x, y, z])


def test_a_window_outside_the_volume_is_padded_with_zeros_on_both_sides() -> None:
    store = MemoryStore(1)
    images, labels = read_window(store, store.record("case0"), BBox((2, 3, -1), (7, 9, 6)))
    np.testing.assert_array_equal(images[..., 1:5], store.images["case0"][:, 2:7, 3:9])
    np.testing.assert_array_equal(labels[..., 1:5], store.labels["case0"][2:7, 3:9])
    assert not images[..., [0, 5, 6]].any()
    assert not labels[..., [0, 5, 6]].any()


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_nothing(threads: int) -> None:
    store = MemoryStore(7)
    expected = list(loader_of(store, batch_size=2, crops_per_case=2).epoch(4))
    batches = list(loader_of(store, batch_size=2, crops_per_case=2, threads=threads).epoch(4))
    assert [len(b) for b in batches] == [len(b) for b in expected]
    assert_same(flat(batches), flat(expected))


def test_two_ranks_share_the_batches_of_one_without_overlap() -> None:
    store = MemoryStore(7)
    one = list(loader_of(store, batch_size=4, crops_per_case=2).epoch(1))
    ranks = [list(loader_of(store, batch_size=2, crops_per_case=2, rank=r, world_size=2).epoch(1)) for r in (0, 1)]
    assert len(ranks[0]) == len(ranks[1]) == len(one)
    for whole, first, second in zip(one, *ranks, strict=True):
        assert_same(whole, first + second)


def test_an_incomplete_last_step_is_filled_up_with_other_crops_of_the_epoch_s_first_cases() -> None:
    loader = loader_of(MemoryStore(7), batch_size=4)
    patches = flat(list(loader.epoch(0)))
    assert loader.steps_per_epoch == 2
    assert {p.case_id for p in patches} == {f"case{i}" for i in range(7)}
    assert patches[7].case_id == patches[0].case_id
    assert len({p.sample_key for p in patches}) == 8
    assert loader_of(MemoryStore(1), batch_size=4).steps_per_epoch == 1
    assert len(flat(list(loader_of(MemoryStore(1), batch_size=4).epoch(0)))) == 4


@pytest.mark.parametrize("threads", [0, 2])
def test_resuming_inside_an_epoch_continues_it(threads: int) -> None:
    store = MemoryStore(7)
    loader = loader_of(store, batch_size=2, crops_per_case=2, threads=threads)
    assert_same(flat(list(loader.epoch(3, start_step=4))), flat(list(loader.epoch(3))[4:]))
    assert list(loader.epoch(3, start_step=loader.steps_per_epoch)) == []


@pytest.mark.parametrize("threads", [0, 2])
def test_an_error_names_the_case(threads: int) -> None:
    unexpected = loader_of(MemoryStore(5, {"case3": ValueError("bad block")}), threads=threads)
    with pytest.raises(RuntimeError, match=r"case3.*bad block"):
        list(unexpected.epoch(0))
    user_error = DataError("images.b2nd of case2 is damaged; prepare it again")
    with pytest.raises(DataError) as caught:
        list(loader_of(MemoryStore(5, {"case2": user_error}), threads=threads).epoch(0))
    assert caught.value is user_error


def reading_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("prefetch")]


def test_closing_the_iterator_stops_the_threads() -> None:
    store = MemoryStore(7)
    batches = loader_of(store, crops_per_case=50, threads=2).epoch(0)
    assert len(list(islice(batches, 3))) == 3
    assert len(reading_threads()) == 2
    batches.close()
    assert not reading_threads()
    reads = store.reads
    time.sleep(0.05)
    assert store.reads == reads < 50


def test_reading_ahead_is_bounded() -> None:
    store = MemoryStore(7)
    batches = loader_of(store, crops_per_case=50, threads=2).epoch(0)
    next(batches)
    time.sleep(0.2)
    assert store.reads <= 8
    batches.close()


def test_no_case_is_an_error_with_a_remedy() -> None:
    with pytest.raises(DataError, match="no case"):
        loader_of(MemoryStore(0))
