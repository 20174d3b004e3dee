"""The way of a batch from patches to the network's input, against NumPy and against its parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from brats_ablate.cases import BBox, CaseMetadata, ImageGeometry, Patch
from brats_ablate.runtime.memory import to_device
from brats_ablate.transforms import pipeline as pipeline_module
from brats_ablate.transforms import separable, zoom
from brats_ablate.transforms.compose import Compose
from brats_ablate.transforms.flip import Flip
from brats_ablate.transforms.foreground import (
    InputChannels,
    ModalitiesOnly,
    WithForegroundMask,
    WithForegroundMaskAsReleased,
)
from brats_ablate.transforms.pipeline import BatchPipeline, case_input

CPU = torch.device("cpu")
MEAN, STD = (0.3, 0.1, 0.2, 0.4), (1.0, 2.0, 1.5, 1.1)
CHANNELS = [ModalitiesOnly(), WithForegroundMask(), WithForegroundMaskAsReleased()]


def patch(index: int) -> Patch:
    rng = np.random.default_rng(index)
    images = rng.integers(-2, 3, (4, 5, 6, 7)).astype(np.int16)
    labels = rng.integers(0, 4, (5, 6, 7)).astype(np.uint8)
    return Patch(images, labels, MEAN, STD, f"case{index}", (0, 3, index))


def pipeline(channels: InputChannels, flip: float | None = None) -> BatchPipeline:
    return BatchPipeline(Compose({} if flip is None else {"flip": Flip(flip)}), channels, CPU)


@pytest.mark.parametrize("count", [1, 3])
def test_a_batch_collates_patches_and_shares_no_memory_with_them(count: int) -> None:
    patches = [patch(i) for i in range(count)]
    copies = [(p.images.copy(), p.labels.copy()) for p in patches]
    batch = pipeline(WithForegroundMask()).collate(patches)
    assert batch.images.shape == (count, 4, 5, 6, 7)
    assert batch.sample_keys == [p.sample_key for p in patches]
    for i, p in enumerate(patches):
        m, s = (np.array(t)[:, None, None, None] for t in (p.mean, p.std))
        expected = np.where(p.images != 0, (p.images - m) / s, 0)
        np.testing.assert_allclose(batch.images[i].numpy(), expected, atol=1e-6)
        np.testing.assert_array_equal(batch.labels[i].numpy(), p.labels)
        np.testing.assert_array_equal(batch.foreground[i, 0].numpy(), (p.images != 0).any(axis=0))
    batch.images.fill_(9)
    batch.labels.fill_(9)
    for p, (images, labels) in zip(patches, copies, strict=True):
        np.testing.assert_array_equal(p.images, images)
        np.testing.assert_array_equal(p.labels, labels)


@pytest.mark.parametrize("channels", CHANNELS)
def test_flipping_every_axis_flips_images_labels_and_foreground(channels: InputChannels) -> None:
    plain, flipped = (pipeline(channels, p).collate([patch(0), patch(1)]) for p in (0.0, 1.0))
    assert torch.equal(flipped.images, plain.images.flip(2, 3, 4))
    assert torch.equal(flipped.labels, plain.labels.flip(1, 2, 3))
    assert torch.equal(flipped.foreground, plain.foreground.flip(2, 3, 4))
    assert not torch.equal(flipped.images, plain.images)


def test_each_sample_of_a_batch_is_flipped_along_its_own_axes() -> None:
    patches = [patch(i) for i in range(12)]
    axes = [Flip(0.5).axes(p.sample_key) for p in patches]
    assert len(set(axes)) > 4
    plain, flipped = (pipeline(WithForegroundMask(), p).collate(patches) for p in (None, 0.5))
    for b, own_axes in enumerate(axes):
        assert torch.equal(flipped.labels[b], plain.labels[b].flip(own_axes))
        assert torch.equal(flipped.images[b], plain.images[b].flip([axis + 1 for axis in own_axes]))
        assert torch.equal(flipped.foreground[b, 0], plain.foreground[b, 0].flip(own_axes))


@pytest.mark.parametrize("channels", CHANNELS)
def test_the_result_is_the_augmented_batch_with_stacked_channels(channels: InputChannels) -> None:
    conf = Path(__file__).parents[2] / "conf" / "augment" / "paper.yaml"
    augment = instantiate(OmegaConf.load(conf), _convert_="all")
    for transform in augment.transforms.values():
        transform.p = 1.0
    prepare = BatchPipeline(augment, channels, CPU)
    images, labels = prepare([patch(0), patch(1)])
    batch = augment(prepare.collate([patch(0), patch(1)]))
    assert images.shape == (2, channels.count(4), 5, 6, 7)
    assert images.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(images[:, :4], batch.images)
    assert torch.equal(labels, batch.labels)
    for extra in images[:, 4:].unbind(1):
        assert torch.equal(extra, batch.foreground[:, 0].float())


@pytest.mark.parametrize("channels", CHANNELS)
def test_a_whole_case_is_prepared_like_a_patch_without_augmentation(channels: InputChannels) -> None:
    p = patch(0)
    affine = tuple(tuple(float(i == j) for j in range(4)) for i in range(4))
    box = BBox((0, 0, 0), (5, 6, 7))
    record = CaseMetadata("case0", "case0", ImageGeometry((5, 6, 7), affine), box, MEAN, STD, True)
    expected, _ = pipeline(channels)([p])
    assert torch.equal(case_input(p.images, record, channels, CPU), expected)


def test_all_that_a_step_copies_to_a_device_goes_through_one_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    """The meta device stands in for a GPU: it takes the same branches, and refuses tensors of the CPU."""
    copied: list[torch.dtype] = []

    def recorded(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        copied.append(tensor.dtype)
        return to_device(tensor, device)

    for module in (pipeline_module, separable, zoom):
        monkeypatch.setattr(module, "to_device", recorded)
    meta = torch.device("meta")
    augment = Compose({"zoom": zoom.Zoom(1.0, [1.2, 1.2])})
    images, labels = BatchPipeline(augment, ModalitiesOnly(), meta)([patch(0)])
    assert images.device == labels.device == meta
    matrices, indices = [torch.float32] * 3, [torch.int64] * 3
    assert copied == [torch.int16, torch.uint8, *matrices, *indices, *indices]
    copied.clear()
    geometry = ImageGeometry((5, 6, 7), tuple(map(tuple, np.eye(4).tolist())))
    record = CaseMetadata("case0", "case0", geometry, BBox((0, 0, 0), (5, 6, 7)), MEAN, STD, True)
    assert case_input(patch(0).images, record, ModalitiesOnly(), meta).device == meta
    assert copied == [torch.int16]
