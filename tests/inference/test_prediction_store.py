from __future__ import annotations

from pathlib import Path

import pytest
from schemes import LAYOUTS

from brats_ablate.data.layouts import Layout
from brats_ablate.errors import DataError, RunFailed
from brats_ablate.inference.prediction_store import PredictionFolder, find_label_files


def _touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def _found(folder: Path, layout: str | Layout | None) -> dict[str, str]:
    layout = LAYOUTS[layout] if isinstance(layout, str) else layout
    return {case: str(path.relative_to(folder)) for case, path in find_label_files(folder, layout).items()}


@pytest.mark.parametrize("layout", [None, "brats2021", "upenn_gbm", "msd", "nnunet"])
def test_predictions_are_found_by_the_name_of_their_case_for_every_layout(tmp_path, layout):
    names = ["A.nii.gz", "deep/B_pred.nii", "C_seg.nii.gz", "D-seg.nii.gz", "D-t2f.nii.gz", "C_flair.nii.gz"]
    assert _found(_touch(tmp_path, *names, "._A.nii.gz", "notes.txt"), layout) == {
        "A": "A.nii.gz",
        "B": "deep/B_pred.nii",
        "C": "C_seg.nii.gz",
        "D": "D-seg.nii.gz",
    }


@pytest.mark.parametrize(
    ("layout", "files", "expected"),
    [
        (
            "upenn_gbm",
            ["images_segm/UPENN-GBM-00001_11_segm.nii.gz", "x/UPENN-GBM-00001_11/UPENN-GBM-00001_11_T1GD.nii.gz"],
            {"UPENN-GBM-00001_11": "images_segm/UPENN-GBM-00001_11_segm.nii.gz"},
        ),
        (
            "ucsf_pdgm",
            [f"UCSF-PDGM-0004_nifti/UCSF-PDGM-0004_{k}.nii.gz" for k in ("T1c", "tumor_segmentation")],
            {"UCSF-PDGM-0004": "UCSF-PDGM-0004_nifti/UCSF-PDGM-0004_tumor_segmentation.nii.gz"},
        ),
        (
            "brats_men_rt",
            ["BraTS-MEN-RT-0001-1_t1c.nii.gz", "BraTS-MEN-RT-0001-1_gtv.nii.gz"],
            {"BraTS-MEN-RT-0001-1": "BraTS-MEN-RT-0001-1_gtv.nii.gz"},
        ),
        ("msd", ["imagesTr/A_1.nii.gz", "labelsTr/A_1.nii.gz"], {"A_1": "labelsTr/A_1.nii.gz"}),
        ("nnunet", ["imagesTr/A_0000.nii.gz", "labelsTr/A.nii.gz"], {"A": "labelsTr/A.nii.gz"}),
    ],
)
def test_segmentations_of_a_data_set_are_found_by_its_layout(tmp_path, layout, files, expected):
    assert _found(_touch(tmp_path, *files), layout) == expected


def test_a_name_that_an_image_and_a_prediction_share_is_a_prediction_unless_there_is_a_segmentation(tmp_path):
    layout = Layout("own", "{case}", "{case}_mask", {"t1ce": ["T1c"]}, r"P\d+")
    assert _found(_touch(tmp_path, "P1.nii.gz"), layout) == {"P1": "P1.nii.gz"}
    assert _found(_touch(tmp_path, "P1_mask.nii.gz", "P2.nii.gz"), layout) == {
        "P1": "P1_mask.nii.gz",
        "P2": "P2.nii.gz",
    }


VISITS = ["P01_t1.nii.gz", "P01_t2.nii.gz", "P02_seg.nii.gz"]
"""Ids of cases that end as names of images and of segmentations do."""


def test_every_file_that_job_predict_wrote_is_a_label_file_of_the_case_in_its_name(tmp_path):
    folder = _touch(tmp_path, "predictions.json", *VISITS, "disagreement/P01_t1.nii.gz")
    for layout in (None, "brats2021"):
        assert _found(folder, layout) == {name.removesuffix(".nii.gz"): name for name in VISITS}


def test_a_file_named_as_a_known_case_is_a_label_file_and_other_images_are_skipped(tmp_path):
    folder = _touch(tmp_path, *VISITS, "C_seg.nii.gz", "C_t1.nii.gz", "images/P01_t1_flair.nii.gz")
    known = {"P01_t1", "P01_t2", "P02_seg", "C"}
    assert find_label_files(folder, LAYOUTS["brats2021"], known).keys() == known


def test_label_files_of_another_program_are_not_taken_over(tmp_path):
    folder, manifest = PredictionFolder(_touch(tmp_path / "theirs", "A.nii.gz")), {"labels": {"a": 1}}
    with pytest.raises(
        RunFailed, match=r"theirs contains label files that job=predict did not write; set job\.output="
    ):
        folder.write_or_verify_manifest(manifest)
    assert folder.manifest() == {}
    own = PredictionFolder(tmp_path / "own")
    own.write_or_verify_manifest(manifest)
    _touch(own.path, "A.nii.gz")
    own.write_or_verify_manifest(manifest)


def test_two_label_files_of_a_case_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"two label files of A \(A\.nii\.gz, A_seg\.nii\.gz\); give a folder"):
        find_label_files(_touch(tmp_path, "A.nii.gz", "A_seg.nii.gz"))
