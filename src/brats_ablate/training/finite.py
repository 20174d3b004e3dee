"""Weights that are not finite, and what to do about a run that meets such numbers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from brats_ablate.runs.directory import RunDirectory


def non_finite_tensor(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name of the first tensor with an infinite or undefined value; None if there is none."""
    finite = torch.stack([tensor.isfinite().all() for tensor in tensors.values()]).tolist()
    return next((name for name, is_finite in zip(tensors, finite, strict=True) if not is_finite), None)


def remedy(run: RunDirectory, precision: str) -> str:
    """Return how to go on; another precision needs another name, as it makes another run."""
    kept = "from its last checkpoint" if run.last_checkpoint.exists() else "from its beginning"
    precise = "" if precision == "fp32" else f", or with trainer.precision=fp32 name={run.coordinates.name}_fp32"
    return (
        f"run the same command again to continue {kept}; if it fails again, check these cases, or train another run "
        f"with a lower lr{precise}"
    )
