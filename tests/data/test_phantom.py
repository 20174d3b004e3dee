from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from brats_ablate.data.case_reader import read_case
from brats_ablate.data.layouts import find_cases
from brats_ablate.data.phantom import PhantomCohort
from brats_ablate.errors import ConfigError, DataError

COHORT = PhantomCohort(cases=10, shape=[64, 64, 48], seed=0)


@pytest.fixture(scope="module")
def made():
    return [COHORT.case(n) for n in range(10)]


def test_case_is_a_function_of_seed_and_number(made):
    again = PhantomCohort(cases=3, shape=[64, 64, 48], seed=0).case(2)
    np.testing.assert_array_equal(again[0], made[2][0])
    np.testing.assert_array_equal(again[1], made[2][1])
    assert (PhantomCohort(cases=3, shape=[64, 64, 48], seed=1).case(2)[0] != again[0]).any()


def test_tumours_vary_as_declared(made):
    without_et = [n for n, (_, depth) in enumerate(made) if not (depth == 3).any()]
    assert without_et == [3, 8]
    several = [n for n, (_, depth) in enumerate(made) if _large_components(depth) > 1]
    assert set(several) <= {1, 5, 9}
    assert several
    for images, depth in made:
        assert {0, 1, 2} <= set(np.unique(depth))
        assert 0.01 < (depth > 0).sum() / (images[0] != 0).sum() < 0.35


def _large_components(depth):
    components, _ = ndimage.label(depth > 0, np.ones((3, 3, 3)))
    return int((np.bincount(components.ravel())[1:] > 30).sum())


def test_necrosis_lies_within_a_rim(made):
    """In enhancing cases necrosis hardly touches healthy tissue: the nesting that the regions rely on."""
    for n, (_, depth) in enumerate(made):
        if n not in (3, 8):
            near_background = ndimage.binary_dilation(depth == 0)
            assert ((depth == 2) & near_background).sum() <= 0.1 * (depth == 2).sum()


def test_skull_stripped_and_contrasts_of_the_modalities(made):
    for n, (images, depth) in enumerate(made):
        assert images.dtype == np.int16
        brain = images[0] != 0
        assert all(((image != 0) == brain).all() for image in images)
        assert not brain[[0, -1]].any()
        assert (depth[~brain] == 0).all()
        flair, t1, t1ce, t2 = images.astype(float)
        healthy = brain & (depth == 0)
        assert flair[depth == 1].mean() > 1.1 * flair[healthy].mean()
        assert t1[depth == 2].mean() < t1[healthy].mean()
        assert t2[depth == 2].mean() > t2[healthy].mean()
        if n not in (3, 8):
            assert t1ce[depth == 3].mean() > 1.2 * t1ce[healthy].mean()


def test_no_threshold_of_one_modality_solves_it(made):
    """Oedema and healthy tissue overlap in FLAIR, so that a network has something to learn."""
    for images, depth in made:
        flair = images[0]
        best = max(
            2 * ((flair > t) & (depth > 0)).sum() / ((flair > t).sum() + (depth > 0).sum())
            for t in np.percentile(flair[flair > 0], np.arange(50, 100, 2))
        )
        assert best < 0.9


def test_written_files_are_brats2021_and_read_back(tmp_path):
    cohort = PhantomCohort(cases=2, shape=[32, 30, 24], seed=4)
    cohort.write(tmp_path)
    cases = find_cases(tmp_path, "brats2021", need_segmentation=True)
    assert [c.case_id for c in cases] == ["BraTS2021_00000", "BraTS2021_00001"]
    image = nib.load(cases[1].images["t1ce"][0])
    assert image.get_data_dtype() == np.int16
    assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), cohort.case(1)[0][2])
    prepared = read_case(cases[1], "brats2021")
    assert prepared.labels is not None
    assert prepared.labels.sum() == cohort.case(1)[1].sum()


def test_writing_again_keeps_what_is_there_and_completes_it(tmp_path):
    cohort = PhantomCohort(cases=2, shape=[32, 30, 24], seed=4)
    cohort.write(tmp_path)
    kept = tmp_path / "BraTS2021_00000/BraTS2021_00000_t1.nii.gz"
    lost = tmp_path / "BraTS2021_00001/BraTS2021_00001_t2.nii.gz"
    before, time = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    cohort.write(tmp_path)
    assert kept.stat().st_mtime_ns == time
    assert lost.read_bytes() == before


def test_other_contents_are_never_overwritten(tmp_path):
    PhantomCohort(cases=1, shape=[32, 30, 24], seed=4).write(tmp_path / "a")
    with pytest.raises(DataError, match="holds a phantom of other settings"):
        PhantomCohort(cases=1, shape=[32, 30, 24], seed=5).write(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/mine.txt").touch()
    with pytest.raises(DataError, match="is not empty and holds no phantom"):
        PhantomCohort(cases=1, shape=[32, 30, 24], seed=5).write(tmp_path / "b")


@pytest.mark.parametrize("settings", [{"cases": 0}, {"shape": [64, 64]}, {"shape": [64, 8, 64]}])
def test_impossible_settings_name_their_key(settings):
    with pytest.raises(ConfigError, match=f"data.phantom.{next(iter(settings))}="):
        PhantomCohort(**({"cases": 1, "shape": [64, 64, 48], "seed": 0} | settings))
