"""The configured augmentations by name, in order (paper section 2.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from brats_ablate.cases import Batch, SampleKey
from brats_ablate.errors import ConfigError
from brats_ablate.transforms.drop_modality import DropModality
from brats_ablate.transforms.flip import Flip
from brats_ablate.transforms.foreground import InputChannels


class Transform(Protocol):
    """Changes a batch, in place where that is cheaper, and returns it."""

    def __call__(self, batch: Batch) -> Batch: ...


class Compose:
    """Applies named transforms in their order; none at all leaves the batch unchanged.

    Args:
        transforms: name to transform; the configuration overrides single ones by name. Regardless of their
            place, the `BatchPipeline` applies a `Flip` while it normalizes, and a `DropModality` before and after all.
    """

    def __init__(self, transforms: Mapping[str, Transform | Flip | DropModality]) -> None:
        self.transforms = dict(transforms)

    def flip_axes(self, sample_key: SampleKey) -> tuple[int, ...]:
        """Draw the axes along which a sample is flipped; none without a `Flip`."""
        flips = [transform for transform in self.transforms.values() if isinstance(transform, Flip)]
        return flips[-1].axes(sample_key) if flips else ()

    def dropped_channels(self, sample_key: SampleKey, count: int) -> tuple[int, ...]:
        """Draw which of a sample's `count` modalities are left out; none without a `DropModality`."""
        drops = [transform for transform in self.transforms.values() if isinstance(transform, DropModality)]
        return drops[-1].channels(sample_key, count) if drops else ()

    def augmented_input(self, batch: Batch, channels: InputChannels) -> Batch:
        """Return the augmented batch, its images being the network's input channels."""
        batch = self(batch)
        return replace(batch, images=channels.stack_channels(batch.images, batch.foreground))

    def __call__(self, batch: Batch) -> Batch:
        """Apply the transforms of normalized batches, in place where possible; use the returned batch.

        Raises:
            ConfigError: a transform returns something else.
        """
        for name, transform in self.transforms.items():
            if isinstance(transform, Flip | DropModality):
                continue
            result: object = transform(batch)
            if not isinstance(result, Batch):
                raise ConfigError(
                    f"augment.transforms.{name}: {type(transform).__name__} returns a {type(result).__name__}, not the "
                    "batch; end it with `return batch`"
                )
            batch = result
        for sample, dropped in enumerate(batch.dropped):
            for channel in dropped:
                batch.images[sample, channel].zero_()  # again: noise and the like add to the zeros
        return batch


class ComposeAsReleased(Compose):
    """Applies the transforms to all input channels, as the paper's code does: also to the one-hot channel.

    The text describes augmentations of images; the code treats the one-hot channel as one of them.
    """

    def augmented_input(self, batch: Batch, channels: InputChannels) -> Batch:
        """Return the augmented batch, its images being the network's input channels."""
        return self(replace(batch, images=channels.stack_channels(batch.images, batch.foreground)))
