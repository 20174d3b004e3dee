from __future__ import annotations

import pytest
from schemes import BRATS2021

from brats_ablate.data.cohort_summary import cohort_summary


def _described(case_id, *tissues, patient=None, **changes):
    blobs = [[tissue, voxels, [0] * 3, [1] * 3, []] for tissue, voxels in tissues]
    # The first axis of the file runs down, 3 mm a voxel; the second to the right, 0.5 mm; the third to the back.
    grid = {"shape": [4, 5, 6], "affine": [[0, 0.5, 0, 5], [0, 0, -1, 7], [-3, 0, 0, 9], [0, 0, 0, 1]]}
    record = {"case_id": case_id, "patient_id": patient or case_id, "has_labels": bool(tissues), "blobs": blobs}
    content = {"channels": ["flair", "t1"], "volumes": [1, 0], "backgrounds": [0, 0]}
    return content | changes | {"record": record | {"grid": grid}}


def test_counts_are_those_of_the_cases():
    cases = [
        _described("a", (1, 60), (1, 10), (2, 20), patient="p"),
        _described("b", (1, 10), patient="p", backgrounds=[-1.5, 0.0]),
        _described("c"),
    ]
    assert cohort_summary(cases, BRATS2021) == [
        "labels (brats2021): 2 ED 80.0%, 1 NCR 20.0%, 4 ET 0.0% of the labeled voxels; 1 cases without a segmentation",
        "channels: flair, t1 (volumes 1, 0 of the files)",
        "background: -1.5 to 0, mapped to 0",
        "patients: 2 with 3 scans, 1 of them with several",
        "voxels: 0.5×1×3 mm",
    ]


def test_an_unlabeled_cohort_has_no_shares_and_orders_that_differ_are_all_shown():
    cases = [_described("a"), _described("b", volumes=[0, 1]), _described("c", volumes=[None, None])]
    lines = cohort_summary(cases, BRATS2021)
    assert (
        lines[0] == "labels (brats2021): 2 ED -, 1 NCR -, 4 ET - of the labeled voxels; 3 cases without a segmentation"
    )
    assert lines[1] == "channels: flair, t1 (volumes 0, 1 or 1, 0 of the files)"
    assert cohort_summary(cases[2:], BRATS2021)[1:3] == ["channels: flair, t1", "background: 0"]


def test_channels_of_a_store_of_version_0_1_are_those_that_it_could_have():
    case = _described("a")
    del case["channels"]
    assert cohort_summary([case], BRATS2021)[1] == "channels: flair, t1, t1ce, t2 (volumes 1, 0 of the files)"


def test_a_segmentation_without_any_labeled_voxel_is_counted():
    empty = _described("b")
    empty["record"]["has_labels"] = True
    assert cohort_summary([_described("a", (3, 5)), empty], BRATS2021)[0] == (
        "labels (brats2021): 2 ED 0.0%, 1 NCR 0.0%, 4 ET 100.0% of the labeled voxels; 1 cases without a labeled voxel"
    )


def test_voxels_of_several_sizes_and_the_spacing_that_all_are_resampled_to_are_shown():
    cases = [_described("a"), _described("b"), _described("c")]
    cases[0]["record"]["grid"] |= {"affine": [[-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1.25, 0], [0, 0, 0, 1]]}
    for case in cases:
        case["record"]["resampled_mm"] = [1, 1, 1]
    assert cohort_summary(cases, BRATS2021)[-1] == "voxels: 0.5×1×3, 1×1×1.25 mm, resampled to 1×1×1 mm"


@pytest.mark.parametrize(
    ("case_ids", "likely"),
    [
        (
            ["UPENN-GBM-00001_11", "UPENN-GBM-00001_21", "UPENN-GBM-00002_11"],
            ("UPENN-GBM-00001_11", "UPENN-GBM-00001_21"),
        ),
        (
            ["UCSF-PDGM-0429", "UCSF-PDGM-0430_FU003d", "UCSF-PDGM-0430_FU1d"],
            ("UCSF-PDGM-0430_FU003d", "UCSF-PDGM-0430_FU1d"),
        ),
        (["UCSF-PDGM-0429", "UCSF-PDGM-0430", "UCSF-PDGM-0430_FU1d"], ("UCSF-PDGM-0430", "UCSF-PDGM-0430_FU1d")),
        (["BraTS2021_00000", "BraTS2021_00002"], None),
        (["Brats18_CBICA_AAB_1", "Brats18_CBICA_AAG_1"], None),
    ],
)
def test_ids_that_look_like_visits_of_a_patient_are_pointed_out_unless_declared(case_ids, likely):
    line = cohort_summary([_described(c) for c in case_ids], BRATS2021)[3]
    note = (
        f"; if {likely[0]} and {likely[1]} are one patient, set data.patient to keep them in one fold" if likely else ""
    )
    assert line == f"patients: {len(case_ids)} with {len(case_ids)} scans{note}"
    declared = cohort_summary([_described(c, patient="p") for c in case_ids], BRATS2021)[3]
    assert "set data.patient" not in declared
