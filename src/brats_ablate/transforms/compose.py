"""The configured augmentations by name, in order (paper section 2.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from brats_ablate.cases import Batch, SampleKey
from brats_ablate.transforms.flip import Flip


class Transform(Protocol):
    """Changes a batch, in place where that is cheaper, and returns it."""

    def __call__(self, batch: Batch) -> Batch: ...


class Compose:
    """Applies named transforms in their order; none at all leaves the batch unchanged.

    Args:
        transforms: name to transform; the configuration overrides single ones by name. A `Flip` is applied by the
            `BatchPipeline` while it normalizes, regardless of its place.
    """

    def __init__(self, transforms: Mapping[str, Transform | Flip]) -> None:
        self.transforms = dict(transforms)

    def flip_axes(self, sample_key: SampleKey) -> tuple[int, ...]:
        """Draw the axes along which a sample is flipped; none without a `Flip`."""
        flips = [transform for transform in self.transforms.values() if isinstance(transform, Flip)]
        return flips[-1].axes(sample_key) if flips else ()

    def __call__(self, batch: Batch) -> Batch:
        """Apply the transforms of normalized batches, in place where possible; use the returned batch."""
        for transform in self.transforms.values():
            if not isinstance(transform, Flip):
                batch = transform(batch)
        return batch
