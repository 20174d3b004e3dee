"""What a prepared case takes on disk and how long a random, normalised patch takes to read, on one core."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from brats_ablate.cases import BBox
from brats_ablate.data.loader import read_window
from brats_ablate.runtime.memory import disable_malloc_trim
from brats_ablate.transforms.normalize import normalize
from material import Material
from measuring import Claim, Options, Row, Table, alternate, answer, cpu_seconds, isolated, one_core

OURS, NNUNET = "ours, int16, normalised on reading", "nnU-Net v2, float32 blosc2"
_KEPT = ", memory kept"


def measure(options: Options) -> list[Table]:
    """Two tables: disk and time."""
    from peers.nnunet import NnUNet

    material = Material(options)
    peer = NnUNet(material)
    assert peer.dataset is not None  # preprocesses what is not yet
    size = {
        OURS: [_mebibytes(material, c) for c in material.case_ids],
        NNUNET: [peer.mebibytes(case) for case in material.raw],
    }
    request = options.as_request()
    reading = {
        f"{name}{_KEPT if kept else ''}": values
        for kept in (False, True)
        for name, values in isolated("parts.store", request | {"keep_memory": kept}).items()
    }
    what = f"{options.patch}³ patches of four modalities and labels"
    return [
        Table(
            "A prepared case on disk",
            "MiB",
            [Row(name, values) for name, values in size.items()],
            [Claim("nnU-Net v2 (0.6 of its size asked)", OURS, NNUNET, 1 / 0.6)],
            note=f"Images, labels and properties; {material.described}.",
        ),
        Table(
            f"Reading a random, normalised patch ({what}), one core, files in the page cache",
            "ms",
            [Row(name, values) for name, values in reading.items()],
            [
                Claim("nnU-Net v2, memory kept by both", OURS + _KEPT, NNUNET + _KEPT, 2.0),
                Claim("nnU-Net v2, memory kept by neither", OURS, NNUNET, 2.0),
                Claim("nnU-Net v2 as it comes, ours as it trains", OURS + _KEPT, NNUNET, 2.0),
            ],
            note="Memory kept: freed memory is not returned to the system, as our training has it.",
        ),
    ]


def figures(work: str, cases: str | None, rounds: int, quick: bool, keep_memory: bool) -> dict[str, list[float]]:
    """Milliseconds a patch of each contender and round, in this process."""
    import torch

    from peers.nnunet import NnUNet

    one_core()
    torch.set_num_threads(1)
    if keep_memory:
        disable_malloc_trim()
    material = Material(Options(Path(work), Path(cases) if cases else None, rounds, quick))
    peer = NnUNet(material)
    patches = 8 if quick else 20
    draw = np.random.default_rng(0)
    windows = [(c, _start(material, c, draw)) for c in draw.choice(material.case_ids, patches)]
    contenders: dict[str, Callable[[], float]] = {
        OURS: cpu_seconds(lambda: [read_ours(material, *w) for w in windows]),
        NNUNET: cpu_seconds(lambda: [peer.read_patch(*w) for w in windows]),
    }
    return {name: [1000 * v / patches for v in values] for name, values in alternate(contenders, rounds).items()}


def read_ours(material: Material, case_id: str, start: tuple[int, int, int]) -> object:
    """One window as training reads it: normalised images (1, 4, X, Y, Z) and labels."""
    import torch

    record = material.store.record(case_id)
    x, y, z = start
    n = material.options.patch
    images, labels = read_window(material.store, record, BBox(start, (x + n, y + n, z + n)))
    return normalize(torch.from_numpy(images), record.mean, record.std)[None], labels


def _start(material: Material, case_id: str, draw: np.random.Generator) -> tuple[int, int, int]:
    room = [max(0, s - material.options.patch) for s in material.store.record(case_id).box.shape]
    x, y, z = (int(draw.integers(0, r + 1)) for r in room)
    return (x, y, z)


def _mebibytes(material: Material, case_id: str) -> float:
    folder = material.store.folder / "cases" / case_id
    return sum(file.stat().st_size for file in folder.iterdir()) / 2**20


if __name__ == "__main__":
    answer(figures)
