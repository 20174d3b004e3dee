"""Modality dropout: its draws, and that training sees what prediction passes for a case that lacks modalities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from brats_ablate.cases import BBox, CaseMetadata, ImageGeometry, Patch
from brats_ablate.data.case_reader import PreparedCase
from brats_ablate.errors import ConfigError
from brats_ablate.transforms.compose import Compose, ComposeAsReleased
from brats_ablate.transforms.drop_modality import DropModality
from brats_ablate.transforms.foreground import (
    InputChannels,
    ModalitiesOnly,
    WithForegroundMask,
    WithForegroundMaskAsReleased,
)
from brats_ablate.transforms.noise import GaussianNoise
from brats_ablate.transforms.pipeline import BatchPipeline, case_input

CPU = torch.device("cpu")
SHAPE = (5, 6, 7)
NAMES = ("flair", "t1", "t1ce", "t2", "adc")
CHANNELS = [ModalitiesOnly(), WithForegroundMask(), WithForegroundMaskAsReleased()]


def patch(index: int, count: int = 4) -> Patch:
    rng = np.random.default_rng(index)
    images = rng.integers(-1, 3, (count, *SHAPE)).astype(np.int16)
    images[:, 0] = 0
    mean, std = tuple(0.1 * c for c in range(count)), tuple(1.0 + c for c in range(count))
    return Patch(images, rng.integers(0, 4, SHAPE).astype(np.uint8), mean, std, f"case{index}", (0, 3, index))


def case_without(p: Patch, dropped: tuple[int, ...]) -> PreparedCase:
    """The whole patch as a case that has only the other modalities, asked for all of them."""
    names = NAMES[: len(p.images)]
    kept = [c for c in range(len(p.images)) if c not in dropped]
    affine = tuple(tuple(float(i == j) for j in range(4)) for i in range(4))
    mean, std = (tuple(values[c] for c in kept) for values in (p.mean, p.std))
    record = CaseMetadata("a", "a", ImageGeometry(SHAPE, affine), BBox((0, 0, 0), SHAPE), mean, std, True)
    return PreparedCase(record, p.images[kept], p.labels, tuple(names[c] for c in kept)).with_channels(names)


def test_each_modality_is_drawn_with_its_probability_and_one_always_stays() -> None:
    drop = DropModality(0.3)
    drawn = [drop.channels((0, 0, i), 4) for i in range(4000)]
    shares = [np.mean([c in channels for channels in drawn]) for c in range(4)]
    # Where all four are drawn, each of them stays with a probability of 1/4.
    np.testing.assert_allclose(shares, 0.3 - 0.3**4 / 4, atol=0.02)
    assert max(map(len, drawn)) == 3
    kept = [set(range(4)) - set(DropModality(1.0).channels((0, 0, i), 4)) for i in range(100)]
    assert {len(k) for k in kept} == {1}
    assert set().union(*kept) == {0, 1, 2, 3}
    assert all(DropModality(1.0).channels((0, 0, i), 1) == () for i in range(20))


def test_a_draw_depends_on_the_sample_alone() -> None:
    keys = [(0, 3, i) for i in range(50)]
    first = [DropModality(0.5).channels(key, 4) for key in keys]
    assert [DropModality(0.5).channels(key, 4) for key in reversed(keys)][::-1] == first
    assert [DropModality(0.5).channels((1, 3, i), 4) for i in range(50)] != first


@pytest.mark.parametrize("count", [2, 4, 5])
@pytest.mark.parametrize("channels", CHANNELS)
def test_training_sees_what_prediction_passes_for_a_case_that_lacks_modalities(
    channels: InputChannels, count: int
) -> None:
    patches = [patch(i, count) for i in range(6)]
    drop = DropModality(0.5)
    images, labels = BatchPipeline(Compose({"drop": drop}), channels, CPU)(patches)
    drawn = [drop.channels(p.sample_key, count) for p in patches]
    assert len({len(d) for d in drawn}) > 1
    for p, dropped, sample, nested in zip(patches, drawn, images, labels, strict=True):
        case = case_without(p, dropped)
        assert torch.equal(sample, case_input(case.images, case.record, channels, CPU)[0])
        assert not sample[list(dropped)].any()
        np.testing.assert_array_equal(nested.numpy(), p.labels)


def test_the_masks_are_made_from_the_modalities_that_stay() -> None:
    p = patch(0)
    drop = next(d for d in (DropModality(q) for q in (0.4, 0.5, 0.6, 0.7)) if len(d.channels(p.sample_key, 4)) == 2)
    dropped = drop.channels(p.sample_key, 4)
    stay = [c for c in range(4) if c not in dropped]
    mask = BatchPipeline(Compose({"drop": drop}), WithForegroundMask(), CPU)([p])[0][0, 4]
    np.testing.assert_array_equal(mask.numpy() == 1, (p.images[stay] != 0).any(axis=0))
    assert (mask.numpy() == 1).sum() < (p.images != 0).any(axis=0).sum()
    released = BatchPipeline(Compose({"drop": drop}), WithForegroundMaskAsReleased(), CPU)([p])[0][0, 4]
    z = [np.where(p.images[c] != 0, (p.images[c] - p.mean[c]) / p.std[c], 0) for c in stay]
    np.testing.assert_array_equal(released.numpy() == 1, (np.stack(z) > 0).all(axis=0))
    assert released.any()


@pytest.mark.parametrize("kind", [Compose, ComposeAsReleased])
def test_no_other_transform_fills_a_dropped_modality(kind: type[Compose]) -> None:
    noise = GaussianNoise(1.0, [0.2, 0.2], "touch")
    augment = kind({"drop": DropModality(0.5), "noise": noise})
    patches = [patch(i) for i in range(8)]
    images, _ = BatchPipeline(augment, WithForegroundMask(), CPU)(patches)
    without, _ = BatchPipeline(kind({"noise": noise}), WithForegroundMask(), CPU)(patches)
    for p, sample, plain in zip(patches, images, without, strict=True):
        dropped = augment.dropped_channels(p.sample_key, 4)
        assert not sample[list(dropped)].any()
        stay = [c for c in range(4) if c not in dropped]
        assert torch.equal(sample[stay], plain[stay])  # the draws of the others are as before
        assert plain.any(dim=(1, 2, 3)).all()


def test_the_patches_are_left_as_they_are() -> None:
    p = next(p for p in map(patch, range(20)) if DropModality(0.9).channels(p.sample_key, 4))
    before = p.images.copy()
    BatchPipeline(Compose({"drop": DropModality(0.9)}), ModalitiesOnly(), CPU)([p])
    np.testing.assert_array_equal(p.images, before)


def test_the_option_adds_it_to_the_papers_augmentations() -> None:
    conf = Path(__file__).parents[2] / "conf"
    with initialize_config_dir(str(conf), version_base="1.3"):
        paper, dropping = (compose("config", [f"augment={o}"]).augment for o in ("paper", "paper_drop_modality"))
    assert list(dropping.transforms) == [*paper.transforms, "drop_modality"]
    assert all(dropping.transforms[name] == paper.transforms[name] for name in paper.transforms)
    augment = instantiate(dropping, _convert_="all")
    assert any(augment.dropped_channels((0, 0, i), 4) for i in range(20))


def test_it_is_a_probability() -> None:
    with pytest.raises(ConfigError, match=r"augment\.transforms\.drop_modality\.p=1\.5 must lie between 0 and 1"):
        DropModality(1.5)
