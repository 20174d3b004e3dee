"""Augmented training patches per second on one core, reading included: ours, nnU-Net v2's and MONAI's.

One process, one thread, one patch at a time, the paper's crop and operations. The three alternate in a process that
keeps freed memory, as our training does and theirs do not, and in one that does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from brats_ablate.data.loader import PatchLoader
from brats_ablate.runtime.memory import disable_malloc_trim
from brats_ablate.transforms.blur import GaussianBlur
from brats_ablate.transforms.brightness import Brightness
from brats_ablate.transforms.compose import Compose
from brats_ablate.transforms.contrast import Contrast
from brats_ablate.transforms.crop import BiasedCrop
from brats_ablate.transforms.flip import Flip
from brats_ablate.transforms.foreground import ModalitiesOnly
from brats_ablate.transforms.noise import GaussianNoise
from brats_ablate.transforms.pipeline import BatchPipeline
from brats_ablate.transforms.zoom import Zoom
from material import Material
from measuring import Claim, Options, Row, Table, alternate, answer, isolated, one_core

OURS, NNUNET, MONAI = "ours", "nnU-Net v2 loader + batchgeneratorsv2", "MONAI dictionary transforms, memory map"


def measure(options: Options) -> list[Table]:
    """One table."""
    material = Material(options)
    assert material.store.case_ids  # prepared before the processes ask for it
    request = options.as_request()
    found: dict[str, list[float]] = {}
    for kept in (False, True):
        figures = isolated("parts.data", request | {"keep_memory": kept})
        found |= {f"{name}{', memory kept' if kept else ''}": values for name, values in figures.items()}
    claims = []
    for peer, target in ((NNUNET, 3.0), (MONAI, 4.0)):
        claims.append(Claim(f"{peer}, memory kept by both", f"{OURS}, memory kept", f"{peer}, memory kept", target))
        claims.append(Claim(f"{peer} as it comes, ours as it trains", f"{OURS}, memory kept", peer, target))
    return [
        Table(
            f"Augmented {options.patch}³ patches per second and core, reading included",
            "patches/s",
            [Row(name, values) for name, values in found.items()],
            claims,
            more_is_better=True,
            note=f"Of {material.described}. Zoom is cubic in ours, linear in the others.",
        )
    ]


def figures(work: str, cases: str | None, rounds: int, quick: bool, keep_memory: bool) -> dict[str, list[float]]:
    """Patches per second of each contender and round, in this process."""
    import torch

    from peers.monai_transforms import MonaiPatches
    from peers.nnunet import NnUNet, paper_transforms

    one_core()
    torch.set_num_threads(1)
    if keep_memory:
        disable_malloc_trim()
    options = Options(Path(work), Path(cases) if cases else None, rounds, quick)
    material = Material(options)
    ours = our_patches(material)
    theirs = NnUNet(material).patches(paper_transforms(options.patch))
    monai = MonaiPatches(material)
    patches = 8 if quick else 120  # of which a sixth are enlarged, a sixth blurred: the costly ones
    contenders = {
        OURS: per_second(lambda: next(ours), patches),
        NNUNET: per_second(lambda: next(theirs), patches),
        MONAI: per_second(monai.next, patches),
    }
    return alternate(contenders, rounds)


def paper_chain() -> Compose:
    """`conf/augment/paper.yaml`."""
    return Compose(
        {
            "zoom": Zoom(0.15, [1.0, 1.4]),
            "flip": Flip(0.5),
            "noise": GaussianNoise(0.15, [0.0, 0.33], "touch"),
            "blur": GaussianBlur(0.15, [0.5, 1.5], "touch"),
            "brightness": Brightness(0.15, [0.7, 1.3]),
            "contrast": Contrast(0.15, [0.65, 1.5]),
        }
    )


def our_patches(material: Material) -> Iterator[object]:
    """Batches of one as in training on a CPU, read in this thread; endless."""
    import torch

    loader = PatchLoader(
        material.store,
        material.case_ids,
        BiasedCrop([material.options.patch] * 3, 0.4),
        seed=0,
        batch_size=1,
        crops_per_case=100,
        rank=0,
        world_size=1,
        threads=0,
    )
    pipeline, epoch = BatchPipeline(paper_chain(), ModalitiesOnly(), torch.device("cpu")), 0
    while True:
        for patches in loader.epoch(epoch):
            yield pipeline.augment(pipeline.collate(patches))
        epoch += 1


def per_second(draw: Callable[[], object], patches: int) -> Callable[[], float]:
    """A contender whose figure is the patches per CPU second over `patches` of them."""

    def measured() -> float:
        started = time.process_time()
        for _ in range(patches):
            draw()
        return patches / (time.process_time() - started)

    return measured


if __name__ == "__main__":
    answer(figures)
