"""Reads training patches from the prepared store, a few steps ahead of the training loop.

Threads of the training process read: decompression and array copies release the interpreter lock, and raw int16 patches
are not pickled between processes. A patch depends on (seed, epoch, index) alone, so neither the number of threads nor
that of ranks changes it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import KW_ONLY, dataclass
from itertools import islice
from typing import Protocol

import numpy as np

from brats_ablate.cases import BBox, CaseMetadata, Patch, SampleKey, Shape3d, shape3d
from brats_ablate.data.store import CaseStore
from brats_ablate.errors import DataError, UserError
from brats_ablate.runtime.random import rng_for
from brats_ablate.runtime.workers import prefetch


class Sampler(Protocol):
    """Draws the window of a patch."""

    def sample_bbox(self, record: CaseMetadata, volume_shape: Shape3d, sample_key: SampleKey) -> BBox: ...


@dataclass(frozen=True)
class PatchLoader:
    """Batches of raw patches, in an order drawn for each epoch.

    An epoch contains every case `crops_per_case` times. If the number of samples is not a multiple of `batch_size` ·
    `world_size`, the epoch is filled up from its own beginning (with other crops of those cases), so that every rank
    has equally many steps and no case is left out. Step t of world_size ranks with batches of n contains the same
    samples as step t of one rank with batches of world_size · n.

    Raises:
        DataError: `case_ids` is empty.
    """

    store: CaseStore
    case_ids: Sequence[str]
    """The training cases."""
    sampler: Sampler
    _: KW_ONLY
    seed: int
    batch_size: int
    """Patches per step and rank."""
    crops_per_case: int
    """1 in the paper."""
    rank: int
    world_size: int
    threads: int
    """Reading threads; 0 reads in the caller's thread."""

    def __post_init__(self) -> None:
        if not self.case_ids:
            raise DataError("there is no case to train on; prepare more cases or lower data.n_folds")

    @property
    def n_samples(self) -> int:
        """Samples of all ranks in an epoch, before it is filled up."""
        return len(self.case_ids) * self.crops_per_case

    @property
    def steps_per_epoch(self) -> int:
        """Steps of every rank in an epoch."""
        return -(-self.n_samples // (self.batch_size * self.world_size))

    def epoch(self, epoch: int, start_step: int = 0) -> Generator[list[Patch], None, None]:
        """Yield the batches of `epoch` from `start_step` on; closing the iterator stops the reading threads.

        Raises:
            UserError: the store cannot read a file.
            OSError: the file system cannot.
            RuntimeError: any other failure, naming the case and the sample.
        """
        order = rng_for(self.seed, "order", epoch).permutation(self.n_samples)
        steps = range(start_step, self.steps_per_epoch)
        samples = (sample for step in steps for sample in self._samples_of(step, epoch, order))
        # Enough that no thread idles while the training loop works on one step.
        ahead = self.batch_size + 2 * self.threads
        with closing(prefetch(self._read, samples, threads=self.threads, ahead=ahead)) as patches:
            for _ in steps:
                yield list(islice(patches, self.batch_size))

    def _samples_of(self, step: int, epoch: int, order: np.ndarray) -> list[tuple[str, SampleKey]]:
        """Return case and key of each of this rank's samples in a step."""
        first = (step * self.world_size + self.rank) * self.batch_size
        samples = []
        for index in range(first, first + self.batch_size):
            case = int(order[index % self.n_samples]) % len(self.case_ids)
            samples.append((self.case_ids[case], (self.seed, epoch, index)))
        return samples

    def _read(self, sample: tuple[str, SampleKey]) -> Patch:
        case_id, sample_key = sample
        try:
            record = self.store.record(case_id)
            window = self.sampler.sample_bbox(record, record.box.shape, sample_key)
            images, labels = read_window(self.store, record, window)
        except (UserError, OSError):
            raise
        except Exception as error:
            raise RuntimeError(f"patch of case {case_id} (seed, epoch, index = {sample_key}): {error}") from error
        return Patch(images, labels, record.mean, record.std, case_id, sample_key)


def read_window(store: CaseStore, record: CaseMetadata, window: BBox) -> tuple[np.ndarray, np.ndarray]:
    """Read images (M, X, Y, Z) and labels (X, Y, Z) of a window that may exceed the volume; 0 outside of it."""
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
    return BBox(shape3d(np.maximum(window.start, 0)), shape3d(np.minimum(window.stop, shape)))
