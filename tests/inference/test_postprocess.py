from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from schemes import BRATS2021, MEN_RT
from scipy import ndimage

from brats_ablate.config.data_options import scheme_named
from brats_ablate.inference.postprocess import (
    FewVoxels,
    NoPostprocess,
    PostprocessStep,
    Sequential,
    SmallComponents,
    relabeling,
)


def case(*components: tuple[int, float]) -> tuple[np.ndarray, np.ndarray]:
    """ET rods of given length and probability, apart from each other, inside NCR; float16 probabilities."""
    nested = np.full((5, 2 * len(components) + 1, 120), 2, dtype=np.uint8)
    probabilities = np.full((3, *nested.shape), 0.25, dtype=np.float16)
    for row, (voxels, probability) in enumerate(components):
        nested[2, 2 * row, :voxels] = 3
        probabilities[2, 2, 2 * row, :voxels] = probability
    return nested, probabilities


def paper() -> Sequential:
    return Sequential(small=SmallComponents(16, 0.9), few=FewVoxels(73, 0.9))


@pytest.mark.parametrize(
    ("components", "kept"),
    [
        ([(15, 0.5), (100, 0.5)], 100),  # a small low-confidence component goes, the large one stays
        ([(15, 0.95), (100, 0.5)], 115),  # a high-confidence one stays
        ([(16, 0.5), (100, 0.5)], 116),  # 16 voxels are not small
        ([(72, 0.5)], 0),  # few and low-confidence: all go
        ([(73, 0.5)], 73),
        ([(72, 0.95)], 72),
        ([(15, 0.5), (72, 0.5)], 0),  # the second step counts the remaining voxels
        ([(15, 0.5), (58, 0.95)], 58),  # and averages over them
        ([], 0),
    ],
)
def test_the_papers_steps_by_hand(components: list[tuple[int, float]], kept: int) -> None:
    nested, probabilities = case(*components)
    before = nested.copy()
    result = paper()(nested, probabilities, BRATS2021)
    assert (result == 3).sum() == kept
    assert set(np.unique(result[nested == 3])) <= {2, 3}
    np.testing.assert_array_equal(result[nested != 3], nested[nested != 3])
    np.testing.assert_array_equal(nested, before)


def test_the_notebooks_steps_equal_its_loop() -> None:
    generator = np.random.default_rng(1)
    nested = np.where(generator.random((16, 20, 24)) > 0.85, 3, 2).astype(np.uint8)
    probabilities = generator.random((3, 16, 20, 24)).astype(np.float16)
    probabilities[2] = np.maximum(probabilities[2], np.float16(0.7))  # so that some means are above .9
    steps = instantiate(OmegaConf.load(Path(__file__).parents[2] / "conf" / "postprocess" / "as_released.yaml"))
    expected, enhancing = nested.copy(), nested == 3
    components, count = ndimage.label(enhancing)
    sizes = set()
    for i in range(1, count + 1):
        component = components == i
        voxels = int(component.sum())
        if 1 < voxels < 8 and probabilities[2][component].astype(float).mean() < 0.9:
            expected[component] = 2
        else:
            sizes.add(voxels)
    assert {1, 2} < sizes  # single voxels stay, and so do confident pairs
    assert max(sizes) >= 8
    np.testing.assert_array_equal(steps(nested, probabilities, BRATS2021), expected)
    few = np.full_like(nested, 2)
    few[0, 0, ::3] = 3
    assert (steps(few, np.full_like(probabilities, 0.5), BRATS2021) == 2).all()
    assert (steps(few, np.full_like(probabilities, 0.95), BRATS2021) == few).all()


def test_none_and_a_case_without_tumor() -> None:
    nested, probabilities = case((3, 0.1))
    assert NoPostprocess()(nested, probabilities, BRATS2021) is nested
    empty = np.zeros((5, 6, 7), dtype=np.uint8)
    np.testing.assert_array_equal(paper()(empty, np.zeros((3, 5, 6, 7), np.float16), BRATS2021), empty)


def test_the_scheme_says_what_becomes_what() -> None:
    """In pediatric cases label 3 is ET of channel 2 and becomes NET, 2; here CC comes before it."""
    scheme = scheme_named("brats_ped")
    assert tuple(relabeling(scheme)) == (3, 2, 2)
    moved = replace(
        scheme,
        tissues={"ED": 4, "CC": 3, "NET": 2, "ET": 1},
        regions={"WT": ["ED", "CC", "NET", "ET"], "TC": ["CC", "NET", "ET"], "CC": ["CC"], "ET": ["ET"]},
    )
    assert tuple(relabeling(moved)) == (4, 3, 3)
    encoded, probabilities = np.zeros((5, 6, 7), dtype=np.uint8), np.full((4, 5, 6, 7), 0.9, dtype=np.float16)
    encoded[1, 1, :3], encoded[3, 3, :3] = 4, 3
    probabilities[3] = 0.3
    for step in (SmallComponents(16, 0.5), FewVoxels(16, 0.5)):
        result = step(encoded, probabilities, moved)
        assert (result[1, 1, :3] == 3).all()
        np.testing.assert_array_equal(result[3, 3], encoded[3, 3])


@pytest.mark.parametrize("step", [SmallComponents(16, 0.9), FewVoxels(73, 0.9), paper()])
def test_a_scheme_that_relabels_nothing_is_refused(step: PostprocessStep) -> None:
    gtv = np.ones((5, 6, 7), dtype=np.uint8)
    with pytest.raises(ValueError, match="labels=brats_men_rt relabels no tissue; set postprocess=none"):
        step(gtv, np.ones((1, 5, 6, 7), np.float16), MEN_RT)
    assert NoPostprocess()(gtv, np.ones((1, 5, 6, 7), np.float16), MEN_RT) is gtv
