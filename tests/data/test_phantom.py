from __future__ import annotations

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from omegaconf import OmegaConf
from schemes import BRATS2021, GLI2024, LAYOUTS, MEN_RT
from scipy import ndimage

from brats_ablate.config.data_options import scheme_named
from brats_ablate.config.locations import resource_dir
from brats_ablate.data.case_reader import ReadingRules, read_case
from brats_ablate.data.phantom import CASE_ID, PhantomCohort
from brats_ablate.data.raw_cases import find_cases
from brats_ablate.errors import ConfigError, DataError

LAYOUT = LAYOUTS["brats2021"]
COHORT = PhantomCohort(cases=10, shape=[64, 64, 48], seed=0)


@pytest.fixture(scope="module")
def cases():
    return [COHORT.case(n) for n in range(10)]


def test_case_is_a_function_of_seed_and_number(cases):
    again = PhantomCohort(cases=3, shape=[64, 64, 48], seed=0).case(2)
    np.testing.assert_array_equal(again[0], cases[2][0])
    np.testing.assert_array_equal(again[1], cases[2][1])
    assert (PhantomCohort(cases=3, shape=[64, 64, 48], seed=1).case(2)[0] != again[0]).any()


def test_tumors_vary_as_declared(cases):
    without_et = [n for n, (_, nested) in enumerate(cases) if not (nested == 3).any()]
    assert without_et == [3, 8]
    several = [n for n, (_, nested) in enumerate(cases) if _large_components(nested) > 1]
    assert set(several) <= {1, 5, 9}
    assert several
    for images, nested in cases:
        assert {0, 1, 2} <= set(np.unique(nested))
        assert 0.01 < (nested > 0).sum() / (images[0] != 0).sum() < 0.35


def _large_components(nested):
    components, _ = ndimage.label(nested > 0, np.ones((3, 3, 3)))
    return int((np.bincount(components.ravel())[1:] > 30).sum())


def test_necrosis_lies_within_a_rim(cases):
    """In enhancing cases necrosis hardly touches healthy tissue: the nesting that the regions rely on."""
    for n, (_, nested) in enumerate(cases):
        if n not in (3, 8):
            near_background = ndimage.binary_dilation(nested == 0)
            assert ((nested == 2) & near_background).sum() <= 0.1 * (nested == 2).sum()


def test_skull_stripped_and_contrasts_of_the_modalities(cases):
    for n, (images, nested) in enumerate(cases):
        assert images.dtype == np.int16
        brain = images[0] != 0
        assert all(((image != 0) == brain).all() for image in images)
        assert not brain[[0, -1]].any()
        assert (nested[~brain] == 0).all()
        flair, t1, t1ce, t2 = images.astype(float)
        healthy = brain & (nested == 0)
        assert flair[nested == 1].mean() > 1.1 * flair[healthy].mean()
        assert t1[nested == 2].mean() < t1[healthy].mean()
        assert t2[nested == 2].mean() > t2[healthy].mean()
        if n not in (3, 8):
            assert t1ce[nested == 3].mean() > 1.2 * t1ce[healthy].mean()


def test_no_threshold_of_one_modality_solves_it(cases):
    """Edema and healthy tissue overlap in FLAIR, so the task needs more than a threshold."""
    for images, nested in cases:
        flair = images[0]
        best = max(
            2 * ((flair > t) & (nested > 0)).sum() / ((flair > t).sum() + (nested > 0).sum())
            for t in np.percentile(flair[flair > 0], np.arange(50, 100, 2))
        )
        assert best < 0.9


def test_written_files_are_brats2021_and_read_back(tmp_path):
    cohort = PhantomCohort(cases=2, shape=[32, 30, 24], seed=4)
    cohort.write(tmp_path, LAYOUT, BRATS2021)
    cases = find_cases(tmp_path, LAYOUTS["brats2021"], need_segmentation=True)
    assert [c.case_id for c in cases] == ["BraTS2021_00000", "BraTS2021_00001"]
    image = nib.load(cases[1].images["t1ce"][0])
    assert image.get_data_dtype() == np.int16
    assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), cohort.case(1)[0][2])
    prepared = read_case(cases[1], ReadingRules(BRATS2021))
    assert prepared.labels.sum() == cohort.case(1)[1].sum()


def test_a_folder_of_an_earlier_version_keeps_its_ids(tmp_path):
    """`data=phantom` has ids of its own; what was written and prepared with others stays valid."""
    named = {"cases": 1, "shape": [32, 30, 24], "seed": 4}
    PhantomCohort(**named, case_id=CASE_ID).write(tmp_path / "new", LAYOUT, BRATS2021)
    assert [path.name for path in (tmp_path / "new").glob("*/")] == ["Phantom_00000"]
    PhantomCohort(**named).write(tmp_path / "old", LAYOUT, BRATS2021)
    before = sorted(tmp_path.rglob("old/**/*"))
    PhantomCohort(**named, case_id=CASE_ID).write(tmp_path / "old", LAYOUT, BRATS2021)
    assert sorted(tmp_path.rglob("old/**/*")) == before
    with pytest.raises(DataError, match="contains a phantom with different settings"):
        PhantomCohort(**named | {"seed": 5}, case_id=CASE_ID).write(tmp_path / "old", LAYOUT, BRATS2021)
    assert OmegaConf.load(resource_dir("conf") / "data/phantom.yaml").phantom.case_id == CASE_ID


@pytest.mark.slow
def test_other_schemes_write_the_same_lesions_with_their_values(tmp_path):
    cohort = PhantomCohort(cases=3, shape=[48, 44, 40], seed=4)
    written = {}
    for labels in (BRATS2021, GLI2024, MEN_RT, scheme_named("brats_ped"), scheme_named("msd")):
        cohort.write(tmp_path / labels.name, LAYOUT, labels)
        files = sorted((tmp_path / labels.name).rglob("*_seg.nii.gz"))
        written[labels.name] = np.stack([np.asarray(nib.load(file).dataobj) for file in files])
    before = written["brats2021"]
    assert set(np.unique(before)) == {0, 1, 2, 4}
    gli = written["brats2024_gli"]
    assert set(np.unique(gli)) == {0, 1, 2, 3, 4}
    np.testing.assert_array_equal(gli == 2, before == 2)
    np.testing.assert_array_equal(gli == 3, before == 4)
    np.testing.assert_array_equal((gli == 1) | (gli == 4), before == 1)
    # The cavity is inside the necrosis: it borders on nothing else.
    for case in gli:
        assert set(np.unique(case[ndimage.binary_dilation(case == 4)])) <= {1, 4}
    # Enhancing tumor and what lies inside it is the gross tumor volume.
    np.testing.assert_array_equal(written["brats_men_rt"], np.isin(before, (1, 4)))
    np.testing.assert_array_equal(written["msd"], np.array([0, 2, 1, 0, 3])[before])
    np.testing.assert_array_equal(written["brats_ped"], np.array([0, 2, 4, 1, 3])[gli])


def test_a_cavity_looks_like_fluid():
    images, compartments = PhantomCohort(cases=1, shape=[64, 64, 48], seed=0).case(0, has_cavity=True)
    plain = PhantomCohort(cases=1, shape=[64, 64, 48], seed=0).case(0)
    cavity, necrosis = compartments == 4, compartments == 2
    np.testing.assert_array_equal(np.where(cavity, 2, compartments), plain[1])
    assert cavity.sum() > 20
    assert images[0][cavity].mean() < images[0][necrosis].mean()  # dark in FLAIR


@pytest.mark.parametrize("layout", ["brats2018", "brats2023", "msd"])
def test_other_layouts_are_read_back_as_the_same_case(tmp_path, layout):
    case_id = {"brats2018": "Brats18_%d_1", "brats2023": "BraTS-GLI-%05d-000", "msd": "BRATS_%03d"}[layout]
    expected = PhantomCohort(cases=1, shape=[32, 30, 24], seed=4)
    expected.write(tmp_path / "a", LAYOUT, BRATS2021)
    PhantomCohort(cases=1, shape=[32, 30, 24], seed=4, case_id=case_id).write(
        tmp_path / "b", LAYOUTS[layout], BRATS2021
    )
    contents = []
    for folder, name in (("a", "brats2021"), ("b", layout)):
        (raw,) = find_cases(tmp_path / folder, LAYOUTS[name], need_segmentation=True)
        contents.append(read_case(raw, ReadingRules(BRATS2021)).record.content_hash)
    assert contents[0] == contents[1]


def test_volumes_are_written_in_the_declared_order(tmp_path):
    layouts = [LAYOUTS["msd"], replace(LAYOUTS["msd"], volumes=["t1", "t1ce", "t2", "flair"])]
    cases = []
    for folder, layout in zip(("a", "b"), layouts, strict=True):
        PhantomCohort(cases=1, shape=[32, 30, 24], seed=4, case_id="BRATS_%03d").write(
            tmp_path / folder, layout, BRATS2021
        )
        (raw,) = find_cases(tmp_path / folder, layout, need_segmentation=True)
        cases.append((raw, read_case(raw, ReadingRules(BRATS2021)).record.content_hash))
    assert cases[1][0].images["flair"][1] == 3
    assert cases[0][1] == cases[1][1]
    with pytest.raises(DataError, match="contains a phantom with different settings"):  # as earlier versions wrote it
        PhantomCohort(cases=1, shape=[32, 30, 24], seed=4, case_id="BRATS_%03d").write(
            tmp_path / "a", layouts[1], BRATS2021
        )


def test_a_channel_that_a_phantom_does_not_have_is_refused(tmp_path):
    layout = replace(LAYOUT, modalities={"flair": ["flair"], "adc": ["adc"]})
    with pytest.raises(ConfigError, match=r"data\.phantom has no modality adc; it has flair, t1, t1ce, t2"):
        COHORT.write(tmp_path, layout, BRATS2021)


def test_the_settings_file_is_that_of_version_0_1_and_names_what_that_could_not_choose(tmp_path):
    cohort = PhantomCohort(cases=1, shape=[32, 30, 24], seed=4)
    cohort.write(tmp_path / "a", LAYOUT, BRATS2021)
    settings = {file.name: json.loads(file.read_text()) for file in (tmp_path / "a").glob("*.json")}
    assert list(settings.values()) == [{"cases": 1, "shape": [32, 30, 24], "seed": 4}]
    with pytest.raises(DataError, match="contains a phantom with different settings"):
        cohort.write(tmp_path / "a", LAYOUT, GLI2024)
    with pytest.raises(DataError, match="contains a phantom with different settings"):
        cohort.write(tmp_path / "a", LAYOUTS["brats2018"], BRATS2021)


def test_writing_again_keeps_existing_files_and_completes_the_cohort(tmp_path):
    cohort = PhantomCohort(cases=2, shape=[32, 30, 24], seed=4)
    cohort.write(tmp_path, LAYOUT, BRATS2021)
    kept = tmp_path / "BraTS2021_00000/BraTS2021_00000_t1.nii.gz"
    lost = tmp_path / "BraTS2021_00001/BraTS2021_00001_t2.nii.gz"
    before, time = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    cohort.write(tmp_path, LAYOUT, BRATS2021)
    assert kept.stat().st_mtime_ns == time
    assert lost.read_bytes() == before


def test_other_contents_are_never_overwritten(tmp_path):
    PhantomCohort(cases=1, shape=[32, 30, 24], seed=4).write(tmp_path / "a", LAYOUT, BRATS2021)
    with pytest.raises(DataError, match="contains a phantom with different settings"):
        PhantomCohort(cases=1, shape=[32, 30, 24], seed=5).write(tmp_path / "a", LAYOUT, BRATS2021)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/notes.txt").touch()
    with pytest.raises(DataError, match="is not empty and contains no phantom"):
        PhantomCohort(cases=1, shape=[32, 30, 24], seed=5).write(tmp_path / "b", LAYOUT, BRATS2021)


@pytest.mark.parametrize("settings", [{"cases": 0}, {"shape": [64, 64]}, {"shape": [64, 8, 64]}])
def test_impossible_settings_name_their_key(settings):
    with pytest.raises(ConfigError, match=f"data.phantom.{next(iter(settings))}="):
        PhantomCohort(**({"cases": 1, "shape": [64, 64, 48], "seed": 0} | settings))
