"""The mean of several networks' probabilities for one case: folds × checkpoints, each with its flips and windows.

On the flow: networks and a volume for each in, the ensemble's region probabilities out; one case's probabilities are
held at a time. Probabilities are averaged, not logits (paper section 2.5).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from brats_ablate.inference.tta import Predict

Tta = Callable[[Predict, Tensor], Tensor]


def ensemble_mean(members: Sequence[tuple[Predict, Tensor]], tta: Tta) -> Tensor:
    """The mean over members of `tta(predict, volume)`.

    Args:
        members: a predictor and the volume it sees, (1, C, X, Y, Z), for each member; channels can differ.
        tta: `FlipTTA()` or another of `tta`.

    Returns:
        (1, 3, X, Y, Z) float32 region probabilities.

    Raises:
        ValueError: no members.
    """
    if not members:
        raise ValueError("an ensemble needs at least one member")
    with torch.inference_mode():
        total = torch.zeros((), device=members[0][1].device)
        for predict, volume in members:
            total = total + tta(predict, volume)
        return total / len(members)
