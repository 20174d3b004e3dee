"""The chain of augmentations around normalising: what acts on stored patches, then what acts on batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from brats_ablate.cases import Batch, Patch


class Transform(Protocol):
    """Changes a batch; works in place where that is cheaper, as the batch belongs to the chain."""

    def __call__(self, batch: Batch) -> Batch: ...


@runtime_checkable
class PatchTransform(Protocol):
    """Marks a patch with what is to be done to it before it is normalised."""

    def on_patch(self, patch: Patch) -> Patch: ...


class Compose:
    """Applies named transforms in their order; none at all leaves the batch as it is.

    Args:
        transforms: name to transform; the names serve to override one of them in the configuration.
    """

    def __init__(self, transforms: Mapping[str, Transform | PatchTransform]) -> None:
        self.transforms = dict(transforms)

    def on_patches(self, patches: Sequence[Patch]) -> list[Patch]:
        """The patches with the marks of the transforms that act before normalising."""
        marked = list(patches)
        for transform in self.transforms.values():
            if isinstance(transform, PatchTransform):
                marked = [transform.on_patch(patch) for patch in marked]
        return marked

    def __call__(self, batch: Batch) -> Batch:
        """Applies the other transforms to `batch`, in place where possible; use the returned one."""
        for transform in self.transforms.values():
            if not isinstance(transform, PatchTransform):
                batch = transform(batch)
        return batch
