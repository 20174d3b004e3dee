"""Folders like those of nnU-Net's results, which no training wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from schemes import BRATS2021

from brats_ablate.config.data_options import scheme_named
from brats_ablate.data.store import CaseStore, to_original_space

NAME = "nnUNetTrainer__nnUNetPlans__3d_fullres"
LABELS = {"background": 0, "edema": 1, "necrosis": 2, "enhancing tumor": 3}
REGIONS = {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]}
"""Both in the values of labels=msd."""


def write_results(
    folder: Path,
    prepared: Path,
    folds: Mapping[int, Sequence[str]],
    labels: Mapping[str, Any] = LABELS,
    configuration: Mapping[str, Any] | None = None,
    **dataset: Any,
) -> Path:
    """Write results whose held-out predictions are the references, in the values of labels=msd; return their folder."""
    results = folder / "Dataset001_Phantom" / NAME
    results.mkdir(parents=True)
    channels = {"channel_names": {str(k): m for k, m in enumerate(("FLAIR", "T1", "T1ce", "T2"))}}
    declared = channels | {"labels": dict(labels), "file_ending": ".nii.gz"} | dataset
    if any(isinstance(v, list) for v in labels.values()):
        declared.setdefault("regions_class_order", [1, 2, 3])
    (results / "dataset.json").write_text(json.dumps(declared))
    plans = {"configurations": {"3d_fullres": configuration or {}}, "image_reader_writer": "SimpleITKIO"}
    (results / "plans.json").write_text(json.dumps(plans | {"transpose_forward": [0, 1, 2]}))
    store = CaseStore(prepared)
    for fold, case_ids in folds.items():
        validation = results / f"fold_{fold}" / "validation"
        validation.mkdir(parents=True)
        for case_id in case_ids:
            record = store.record(case_id)
            encoded = to_original_space(record, store.read_labels(case_id))
            values = scheme_named("msd").decode(encoded)
            nib.save(nib.Nifti1Image(values, np.asarray(record.grid.affine)), validation / f"{case_id}.nii.gz")
        scored = [{"prediction_file": str(validation / f"{case_id}.nii.gz")} for case_id in case_ids]
        (validation / "summary.json").write_text(json.dumps({"metric_per_case": scored}))
    return results


def own(work: Path) -> dict[int, list[str]]:
    """The cases of each fold of the prepared phantoms."""
    return {k: list(ids) for k, ids in enumerate(CaseStore(work / "phantom/prepared").folds)}


def references_of(prepared: Path, case_id: str) -> np.ndarray:
    """The reference of a case on its own grid, in the values of BraTS 2021."""
    store = CaseStore(prepared)
    return BRATS2021.decode(to_original_space(store.record(case_id), store.read_labels(case_id)))
