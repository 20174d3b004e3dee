"""Probabilities of prepared phantoms by MONAI's inferer: an oracle of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from omegaconf import OmegaConf

from brats_ablate.data.store import CaseStore
from brats_ablate.jobs.build import build_model
from brats_ablate.runs.directory import RunDirectory
from brats_ablate.training.checkpoint import load_weights
from brats_ablate.transforms.normalize import normalize

ALL = ("flair", "t1", "t1ce", "t2")
FLIPS = [[], [2], [3], [4], [2, 3], [2, 4], [3, 4], [2, 3, 4]]


def by_monai(
    work: Path,
    case_id: str,
    runs: Sequence[RunDirectory],
    *,
    flips: bool = False,
    modalities: Sequence[str] = ALL,
    zero: Sequence[str] = (),
) -> np.ndarray:
    """Return the mean over all checkpoints, and over eight flips if wanted, (3, X, Y, Z).

    The channels are `modalities` of the prepared four, of which those in `zero` are set to 0.
    """
    store = CaseStore(work / "phantom" / "prepared")
    record, rows = store.record(case_id), [ALL.index(m) for m in modalities]
    volume = normalize(torch.from_numpy(store.read_images(case_id)), record.mean, record.std)[rows][None]
    volume[:, [m in zero for m in modalities]] = 0
    predicted = []
    for run in runs:
        cfg = OmegaConf.create(run.config())
        for file in run.best_checkpoints():
            model = build_model(cfg).eval()
            load_weights(file, model)
            for axes in FLIPS if flips else FLIPS[:1]:
                with torch.no_grad():
                    blended = sliding_window_inference(
                        volume.flip(axes), (16, 16, 16), 1, lambda x, m=model: m(x).logits[0].sigmoid(), 0.5, "gaussian"
                    )
                predicted.append(blended.flip(axes)[0])
    return torch.stack(predicted).mean(0).numpy()
