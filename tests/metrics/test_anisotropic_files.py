"""Label files with voxels other than 1 mm, in any order of axes, score as independent programs score them in mm."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import surface_distance
import torch
from medpy.metric.binary import hd95 as medpy_hd95
from monai.metrics import compute_hausdorff_distance
from schemes import BRATS2021
from scipy.ndimage import gaussian_filter
from scorers import DEFAULT

from brats_ablate.metrics.evaluate import Scores, Task, score

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:surface_distance.*")
SPACING = (0.8, 1.0, 3.0)
AXES = {"RAS": [[0, 1], [1, 1], [2, 1]], "LPS": [[0, -1], [1, -1], [2, 1]], "SLA": [[1, -1], [2, 1], [0, 1]]}


def _masks() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    base = gaussian_filter(generator.normal(size=(30, 26, 14)), (3, 3, 1))
    shift = gaussian_filter(generator.normal(size=base.shape), (3, 3, 1))
    return base + 0.4 * shift > base.std(), base > base.std()


def _scores(folder: Path, order: str, hd95: str) -> dict[str, float]:
    files = []
    for name, mask in zip(("predicted", "reference"), _masks(), strict=True):
        image = nib.Nifti1Image(mask.astype(np.uint8) * 2, np.diag([*SPACING, 1.0]))
        files.append(folder / f"{name}_{order}_{hd95}.nii.gz")
        nib.save(image.as_reoriented(np.array(AXES[order])), files[-1])
    scorer = replace(DEFAULT, hd95=hd95, tolerance_mm=2.0, lesion_dilation=1)  # type: ignore[arg-type]
    scores = score(Task("a", *files, BRATS2021, BRATS2021), scorer)
    assert isinstance(scores, Scores), scores
    return {metric: value for (region, metric), value in scores.values.items() if region == "WT"}


@pytest.mark.parametrize("order", AXES)
def test_distances_are_those_of_the_peers_in_mm(tmp_path: Path, order: str) -> None:
    predicted, reference = _masks()
    peer = surface_distance.compute_surface_distances(reference, predicted, SPACING)
    found = _scores(tmp_path, order, "brats2023")
    assert found["hd95"] == pytest.approx(surface_distance.compute_robust_hausdorff(peer, 95), rel=1e-6)
    nsd = surface_distance.compute_surface_dice_at_tolerance(peer, 2.0)
    assert found["nsd"] == pytest.approx(nsd, rel=1e-6)
    medpy = _scores(tmp_path, order, "medpy")["hd95"]
    assert medpy == pytest.approx(medpy_hd95(predicted, reference, SPACING), rel=1e-6)
    tensors = [torch.from_numpy(m)[None, None] for m in (predicted, reference)]
    monai = compute_hausdorff_distance(*tensors, include_background=True, percentile=95, spacing=list(SPACING))
    assert _scores(tmp_path, order, "monai")["hd95"] == pytest.approx(monai.item(), rel=1e-6)


def test_no_score_depends_on_the_order_of_axes(tmp_path: Path) -> None:
    expected = _scores(tmp_path, "RAS", "brats2023")
    assert expected["lesions_found"] + expected["lesions_missed"] > 1
    for order in ("LPS", "SLA"):
        assert _scores(tmp_path, order, "brats2023") == pytest.approx(expected, rel=1e-9)


def test_lesions_are_ignored_by_their_volume_in_mm3(tmp_path: Path) -> None:
    """20 voxels of 2.4 mm³ are 48 mm³, at most 50; 21 are 50.4."""
    for voxels, ignored in ((20, True), (21, False)):
        mask = np.zeros((12, 30, 8), np.uint8)
        mask[5, 3 : 3 + voxels, 4] = 2
        for name in ("predicted", "reference"):
            nib.save(nib.Nifti1Image(mask, np.diag([*SPACING, 1.0])), tmp_path / f"{name}.nii.gz")
        task = Task("a", tmp_path / "predicted.nii.gz", tmp_path / "reference.nii.gz", BRATS2021, BRATS2021)
        scores = score(task, replace(DEFAULT, tolerance_mm=2.0, lesion_dilation=1))
        assert isinstance(scores, Scores)
        assert scores.values["WT", "lesions_found"] == (0 if ignored else 1)
