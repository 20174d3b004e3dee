"""Every augmentation, forced, on the device against the CPU; noise by its spread, as each device draws its own."""

from __future__ import annotations

from typing import Any

import torch

from brats_ablate.data.loader import PatchLoader
from brats_ablate.data.store import CaseStore
from brats_ablate.jobs.build import instantiate
from brats_ablate.transforms.pipeline import BatchPipeline
from gpu_stages.common import Options, compose, milliseconds, relative_error, small

TOLERANCE = 1e-5


def measure(options: Options, words: list[str]) -> dict[str, Any]:
    """Return the relative difference of the images for each transform, and the time of all for one batch."""
    store = CaseStore(options.prepared)
    plain = compose("+experiment=ds_onehot", "augment=none", *small(options))
    loader = PatchLoader(
        store,
        store.case_ids,
        instantiate(plain.patches),
        seed=0,
        batch_size=2,
        crops_per_case=2,
        rank=0,
        world_size=1,
        threads=1,
    )
    patches = next(loader.epoch(0))
    cpu = torch.device("cpu")
    base = BatchPipeline(instantiate(plain.augment), instantiate(plain.inputs), cpu)(patches)[0].clone()
    names = list(compose("+experiment=ds_onehot").augment.transforms)
    found: dict[str, Any] = {"ok": True}
    for name in ("none", *names):
        forced = [f"augment.transforms.{n}.p={1.0 if n == name else 0.0}" for n in names]
        cfg = compose("+experiment=ds_onehot", *small(options), *forced)
        (here, labels), (there, labels_there) = (
            BatchPipeline(instantiate(cfg.augment), instantiate(cfg.inputs), device)(patches)
            for device in (cpu, options.device)
        )
        if name == "noise":
            spread = [float((images.cpu() - base).std()) for images in (here, there)]
            found[name] = abs(spread[0] / spread[1] - 1)
            good = found[name] < 0.02
        else:
            found[name] = relative_error(there, here)
            good = found[name] < TOLERANCE
        found["ok"] &= bool(good and torch.equal(labels, labels_there.cpu()))
    usual = compose("+experiment=ds_onehot", *small(options))
    pipeline = BatchPipeline(instantiate(usual.augment), instantiate(usual.inputs), options.device)
    found["batch_ms"] = round(milliseconds(lambda: pipeline(patches), 10), 2)
    return found
