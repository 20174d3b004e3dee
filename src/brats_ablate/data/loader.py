"""Reads training patches out of the prepared store, a few steps ahead of the training loop.

Threads of the training process do the reading: decompression and array copies release the interpreter lock,
and raw int16 patches reach the device without being pickled between processes. What a patch shows depends on
(seed, epoch, index) alone, so neither the number of threads nor of ranks changes it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np

from brats_ablate.cases import BBox, CaseMetadata, Patch, Shape3d
from brats_ablate.errors import DataError, UserError
from brats_ablate.runtime.random import rng_for


class Store(Protocol):
    """What the loader needs of a prepared cohort."""

    def record(self, case_id: str) -> CaseMetadata: ...

    def read_images(self, case_id: str, box: BBox | None = None) -> np.ndarray: ...

    def read_labels(self, case_id: str, box: BBox | None = None) -> np.ndarray: ...


class Sampler(Protocol):
    """Chooses a patch's window."""

    def window(self, record: CaseMetadata, volume_shape: Shape3d, counters: tuple[int, int, int]) -> BBox: ...


class PatchLoader:
    """An epoch's batches of raw patches, in an order that is drawn anew for each epoch.

    An epoch shows every case `crops_per_case` times. Where the number of samples is not a multiple of
    `batch_size` · `world_size`, the epoch is filled up from its own beginning (with other crops of those
    cases), so that every rank has equally many steps and no case is left out. Step t of world_size ranks with
    batches of n holds the same samples as step t of one rank with batches of world_size · n.

    Args:
        store: the prepared cohort.
        case_ids: the training cases.
        sampler: chooses each patch's window.
        seed: the run's seed.
        batch_size: patches per step and rank.
        crops_per_case: 1 in the paper.
        rank: this process, 0 .. world_size - 1.
        world_size: processes that train together.
        threads: that read ahead; 0 reads in the caller's thread.

    Raises:
        DataError: no case to train on.
    """

    def __init__(
        self,
        store: Store,
        case_ids: Sequence[str],
        sampler: Sampler,
        *,
        seed: int,
        batch_size: int,
        crops_per_case: int,
        rank: int,
        world_size: int,
        threads: int,
    ) -> None:
        if not case_ids:
            raise DataError("there is no case to train on; prepare more cases or lower data.n_folds")
        self._store = store
        self._case_ids = list(case_ids)
        self._sampler = sampler
        self._seed = seed
        self._batch_size = batch_size
        self._samples = len(self._case_ids) * crops_per_case
        self._rank = rank
        self._world_size = world_size
        self._threads = threads

    @property
    def steps_per_epoch(self) -> int:
        """Steps of every rank in an epoch."""
        return -(-self._samples // (self._batch_size * self._world_size))

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[list[Patch]]:
        """The batches of `epoch` from `start_step` on; closing the iterator stops the reading threads.

        Raises:
            UserError, OSError: what the store or the file system says of a file that cannot be read.
            RuntimeError: any other failure, naming the case and the sample.
        """
        order = rng_for(self._seed, "order", epoch).permutation(self._samples)
        steps = (self._samples_of(step, epoch, order) for step in range(start_step, self.steps_per_epoch))
        if self._threads == 0:
            for samples in steps:
                yield [self._read(case_id, counters) for case_id, counters in samples]
            return
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="patch-reader")
        ahead: deque[list[Future[Patch]]] = deque()
        # Enough steps that no thread idles while the training loop works on one.
        depth = 1 + -(-2 * self._threads // self._batch_size)
        try:
            for samples in steps:
                ahead.append([pool.submit(self._read, *sample) for sample in samples])
                if len(ahead) > depth:
                    yield [patch.result() for patch in ahead.popleft()]
            while ahead:
                yield [patch.result() for patch in ahead.popleft()]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _samples_of(self, step: int, epoch: int, order: np.ndarray) -> list[tuple[str, tuple[int, int, int]]]:
        """Case and counters of each of this rank's samples in a step."""
        first = (step * self._world_size + self._rank) * self._batch_size
        samples = []
        for index in range(first, first + self._batch_size):
            case = int(order[index % self._samples]) % len(self._case_ids)
            samples.append((self._case_ids[case], (self._seed, epoch, index)))
        return samples

    def _read(self, case_id: str, counters: tuple[int, int, int]) -> Patch:
        try:
            record = self._store.record(case_id)
            window = self._sampler.window(record, record.box.shape, counters)
            images, labels = read_window(self._store, record, window)
        except (UserError, OSError):
            raise
        except Exception as error:
            raise RuntimeError(f"patch of case {case_id} (seed, epoch, index = {counters}): {error}") from error
        return Patch(images, labels, record.mean, record.std, case_id, counters)


def read_window(store: Store, record: CaseMetadata, window: BBox) -> tuple[np.ndarray, np.ndarray]:
    """Images (4, X, Y, Z) and labels (X, Y, Z) of a window that may exceed the volume; 0 outside of it."""
    inside = _intersection(window, record.box.shape)
    images = store.read_images(record.case_id, inside)
    labels = store.read_labels(record.case_id, inside)
    if inside == window:
        return images, labels
    offset = [i - w for i, w in zip(inside.start, window.start, strict=True)]
    x, y, z = (slice(o, o + n) for o, n in zip(offset, inside.shape, strict=True))
    padded_images = np.zeros((images.shape[0], *window.shape), dtype=images.dtype)
    padded_labels = np.zeros(window.shape, dtype=labels.dtype)
    padded_images[:, x, y, z] = images
    padded_labels[x, y, z] = labels
    return padded_images, padded_labels


def _intersection(window: BBox, shape: Shape3d) -> BBox:
    a, b = window.start, window.stop
    return BBox(
        (max(a[0], 0), max(a[1], 0), max(a[2], 0)),
        (min(b[0], shape[0]), min(b[1], shape[1]), min(b[2], shape[2])),
    )
