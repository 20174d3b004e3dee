"""Augmented training patches per second on one core, including reading: ours, nnU-Net v2's and MONAI's.

One process, one thread, one patch at a time, with the paper's crop and operations. The three are interleaved in a process
with the default allocator, and again in one with glibc's memory trimming disabled, as in our training.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from omegaconf import OmegaConf

from brats_ablate.config.locations import resource_dir
from brats_ablate.data.loader import PatchLoader
from brats_ablate.jobs.build import instantiate
from brats_ablate.runtime.memory import disable_malloc_trim
from brats_ablate.transforms.compose import Compose
from brats_ablate.transforms.crop import BiasedCrop
from brats_ablate.transforms.foreground import ModalitiesOnly
from brats_ablate.transforms.pipeline import BatchPipeline
from dataset import Dataset
from measuring import (
    NO_TRIM,
    Options,
    Row,
    Table,
    interleave,
    one_core,
    print_result,
    run_isolated,
    with_and_without_trimming,
)

OURS, NNUNET, MONAI = "ours", "nnU-Net v2 loader + batchgeneratorsv2", "MONAI dictionary transforms, memory map"


def measure(options: Options) -> list[Table]:
    """Measure the patches per second: one table."""
    dataset = Dataset(options)
    assert dataset.store.case_ids  # prepares the cases before the subprocesses start
    request = options.as_request()
    results: dict[str, list[float]] = {}
    for kept in (False, True):
        figures = run_isolated("parts.data", request | {"keep_memory": kept})
        results |= {f"{name}{NO_TRIM if kept else ''}": values for name, values in figures.items()}
    return [
        Table(
            f"Augmented {options.patch}³ patches per second and core, including reading",
            "patches/s",
            [Row(name, values) for name, values in results.items()],
            [*with_and_without_trimming(NNUNET, OURS), *with_and_without_trimming(MONAI, OURS)],
            more_is_better=True,
            note=f"{dataset.described}. Zoom is cubic in ours and linear in the others.",
        )
    ]


def figures(keep_memory: bool, **request: Any) -> dict[str, list[float]]:
    """Measure the patches per second of each candidate and round in this process."""
    import torch

    from peers.monai_transforms import MonaiPatches
    from peers.nnunet import NnUNet, paper_transforms

    one_core()
    torch.set_num_threads(1)
    if keep_memory:
        disable_malloc_trim()
    options = Options.of_request(**request)
    dataset = Dataset(options)
    ours = our_patches(dataset)
    nnunet = NnUNet(dataset).patches(paper_transforms(options.patch))
    monai = MonaiPatches(dataset)
    patches = 8 if options.quick else 120  # about 15 % are zoomed and 15 % blurred, the slowest operations
    candidates = {
        OURS: per_second(lambda: next(ours), patches),
        NNUNET: per_second(lambda: next(nnunet), patches),
        MONAI: per_second(monai.next, patches),
    }
    return interleave(candidates, options.rounds)


def paper_chain() -> Compose:
    """Build the transforms of `conf/augment/paper.yaml`."""
    chain: Compose = instantiate(OmegaConf.load(resource_dir("conf") / "augment" / "paper.yaml"))
    return chain


def our_patches(dataset: Dataset) -> Iterator[object]:
    """Yield batches of one without end, as in training on a CPU, read in this thread."""
    import torch

    loader = PatchLoader(
        dataset.store,
        dataset.case_ids,
        BiasedCrop([dataset.options.patch] * 3, 0.4),
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
    """Wrap `draw` as a candidate that returns the patches per CPU second over `patches` calls."""

    def measured() -> float:
        started = time.process_time()
        for _ in range(patches):
            draw()
        return patches / (time.process_time() - started)

    return measured


if __name__ == "__main__":
    print_result(figures)
