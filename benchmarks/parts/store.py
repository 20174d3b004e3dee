"""Size of a prepared case on disk, and time to read a random, normalized patch on one core."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from brats_ablate.cases import BBox
from brats_ablate.data.loader import read_window
from brats_ablate.runtime.memory import disable_malloc_trim
from brats_ablate.transforms.normalize import normalize
from dataset import Dataset
from measuring import (
    NO_TRIM,
    Comparison,
    Options,
    Row,
    Table,
    cpu_seconds,
    interleave,
    one_core,
    print_result,
    run_isolated,
    with_and_without_trimming,
)

OURS, NNUNET = "ours, int16, normalized after reading", "nnU-Net v2, float32 blosc2"
_FORMAT = (
    "Store format: raw int16 under lz4hc-4 with byte shuffle is lossless and a sixth of float32, 10 GB for 1,251 "
    "cases. Compared with it, lz4hc-2 takes half the time to write and a fifth more to read; lz4hc-9 is 3 % "
    "smaller, a tenth faster to read and four times slower to write. Compared with lz4hc-2, zstd is a seventh "
    "smaller and takes twice as long to read; bit shuffle and lz4 are larger and slower. Blocks are columns of 8 × "
    "8 voxels along the whole last axis, an eighth faster to read than blocks of 32³ or 16³."
)
"""How codec and block shape of `data/blosc2_io.py` were chosen."""


def measure(options: Options) -> list[Table]:
    """Measure the size and the reading time: one table each."""
    from peers.nnunet import NnUNet

    dataset = Dataset(options)
    peer = NnUNet(dataset)
    assert peer.preprocessed is not None  # preprocesses the missing cases
    size = {
        OURS: [_mebibytes(dataset, c) for c in dataset.case_ids],
        NNUNET: [peer.mebibytes(case) for case in dataset.raw],
    }
    request = options.as_request()
    reading = {
        f"{name}{NO_TRIM if kept else ''}": values
        for kept in (False, True)
        for name, values in run_isolated("parts.store", request | {"keep_memory": kept}).items()
    }
    what = f"{options.patch}³ patches of four modalities and labels"
    return [
        Table(
            "Size of a prepared case on disk",
            "MiB",
            [Row(name, values) for name, values in size.items()],
            [Comparison("nnU-Net v2", OURS, NNUNET)],
            note=f"Images, labels and properties of {dataset.described}. {_FORMAT}",
        ),
        Table(
            f"Reading a random, normalized patch ({what}), one core, files in the page cache",
            "ms",
            [Row(name, values) for name, values in reading.items()],
            [
                *with_and_without_trimming(NNUNET, OURS),
                Comparison(f"{NNUNET}, default allocator for both", OURS, NNUNET),
            ],
            note="Trimming disabled: glibc does not return freed memory to the kernel, as in our training.",
        ),
    ]


def figures(keep_memory: bool, **request: Any) -> dict[str, list[float]]:
    """Measure the milliseconds per patch of each candidate and round in this process."""
    import torch

    from peers.nnunet import NnUNet

    one_core()
    torch.set_num_threads(1)
    if keep_memory:
        disable_malloc_trim()
    options = Options.of_request(**request)
    dataset = Dataset(options)
    peer = NnUNet(dataset)
    patches = 8 if options.quick else 20
    draw = np.random.default_rng(0)
    windows = [(c, _start(dataset, c, draw)) for c in draw.choice(dataset.case_ids, patches)]
    candidates: dict[str, Callable[[], float]] = {
        OURS: cpu_seconds(lambda: [read_ours(dataset, *w) for w in windows]),
        NNUNET: cpu_seconds(lambda: [peer.read_patch(*w) for w in windows]),
    }
    times = interleave(candidates, options.rounds)
    return {name: [1000 * v / patches for v in values] for name, values in times.items()}


def read_ours(dataset: Dataset, case_id: str, start: tuple[int, int, int]) -> object:
    """Read one window as training does: normalized images (1, 4, X, Y, Z) and labels."""
    import torch

    record = dataset.store.record(case_id)
    x, y, z = start
    n = dataset.options.patch
    images, labels = read_window(dataset.store, record, BBox(start, (x + n, y + n, z + n)))
    return normalize(torch.from_numpy(images), record.mean, record.std)[None], labels


def _start(dataset: Dataset, case_id: str, draw: np.random.Generator) -> tuple[int, int, int]:
    room = [max(0, s - dataset.options.patch) for s in dataset.store.record(case_id).box.shape]
    x, y, z = (int(draw.integers(0, r + 1)) for r in room)
    return (x, y, z)


def _mebibytes(dataset: Dataset, case_id: str) -> float:
    folder = dataset.store.folder / "cases" / case_id
    return sum(file.stat().st_size for file in folder.iterdir()) / 2**20


if __name__ == "__main__":
    print_result(figures)
