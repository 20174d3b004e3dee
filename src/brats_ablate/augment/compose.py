"""The chain of augmentations between normalising and the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from brats_ablate.cases import Batch


class Transform(Protocol):
    """Changes a batch; works in place where that is cheaper, as the batch belongs to the chain."""

    def __call__(self, batch: Batch) -> Batch: ...


class Compose:
    """Applies named transforms in their order; none at all leaves the batch as it is.

    Args:
        transforms: name to transform; the names serve to override one of them in the configuration.
    """

    def __init__(self, transforms: Mapping[str, Transform]) -> None:
        self.transforms = dict(transforms)

    def __call__(self, batch: Batch) -> Batch:
        """Augments `batch`, in place where possible; use the returned one."""
        for transform in self.transforms.values():
            batch = transform(batch)
        return batch
