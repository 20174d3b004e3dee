"""Swapped tissues, and what invalid files are reported as."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from schemes import BRATS2021, MEN_RT
from scorers import DEFAULT

from brats_ablate.data.validation import Problem
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.metrics.evaluate import Scores, Task, looks_swapped, score

ED, NCR, ET = 1, 2, 3


def ball() -> np.ndarray:
    """ED around NCR around ET."""
    grid = np.stack(np.meshgrid(*(np.arange(12),) * 3, indexing="ij")) - 5.5
    radius = np.sqrt((grid**2).sum(axis=0))
    return np.select([radius < 1.5, radius < 3, radius < 5], [ET, NCR, ED], 0).astype(np.uint8)


def swapped(labels: np.ndarray) -> np.ndarray:
    return np.array([0, NCR, ED, ET], dtype=np.uint8)[labels]


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        (ball(), False),
        (swapped(ball()), True),
        (np.roll(swapped(ball()), 1, axis=0), True),
        (np.roll(ball(), 2, axis=0), False),
        (np.where(ball() == ED, 0, ball()), None),
        (np.zeros((12, 12, 12), np.uint8), None),
        (np.where(ball() > 0, ED, 0).astype(np.uint8), None),
    ],
    ids=["same", "swapped", "swapped and shifted", "shifted", "no edema", "empty", "one tissue"],
)
def test_a_swap_shows_in_where_the_tissues_lie(predicted: np.ndarray, expected: bool | None) -> None:
    assert looks_swapped(predicted, ball(), BRATS2021) is expected


def test_a_scheme_without_such_tissues_has_no_swap() -> None:
    mask = (ball() > 0).astype(np.uint8)
    assert looks_swapped(mask, mask, MEN_RT) is None


def write(file: Path, values: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(values, np.eye(4)), file)
    return file


def test_each_side_has_its_own_values(tmp_path: Path) -> None:
    msd = LabelScheme.named_before("msd")
    predicted = write(tmp_path / "p.nii.gz", msd.decode(ball()))
    reference = write(tmp_path / "r.nii.gz", BRATS2021.decode(ball()))
    result = score(Task("a", predicted, reference, msd, BRATS2021), DEFAULT)
    assert isinstance(result, Scores)
    assert {result.values[region, "dice"] for region in ("WT", "TC", "ET")} == {1.0}
    assert result.is_swapped is False
    wrong = score(Task("a", predicted, reference, BRATS2021, BRATS2021), DEFAULT)
    assert isinstance(wrong, Problem)
    assert wrong.values == (0, 1, 2, 3)
    assert wrong.reason == f"{predicted}: label value 3 is not in labels=brats2021 (0, 1, 2, 4)"
    of_reference = score(Task("a", predicted, reference, msd, msd), DEFAULT)
    assert isinstance(of_reference, Problem)
    assert of_reference.values == ()
    assert str(reference) in of_reference.reason


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SAL", "ASR"])
def test_a_prediction_may_have_its_axes_in_another_order(tmp_path: Path, codes: str) -> None:
    affine = np.array([[0.9, -0.1, 0, -20], [0.1, 1.2, 0, 30], [0, 0, 2, 5], [0, 0, 0, 1.0]])
    labels = np.zeros((5, 6, 7), np.uint8)
    labels[1:3, 2:5, 1:6], labels[1, 2, 1] = 2, 4
    reference = nib.Nifti1Image(labels, affine)
    predicted = labels.copy()
    predicted[2, 4, 3:] = 0
    image = nib.Nifti1Image(predicted, affine)
    nib.save(reference, tmp_path / "r.nii.gz")
    nib.save(image, tmp_path / "same.nii.gz")
    wanted = nib.orientations.axcodes2ornt(codes)
    turned = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(affine), wanted))
    assert nib.aff2axcodes(turned.affine) == tuple(codes)
    nib.save(turned, tmp_path / "turned.nii.gz")
    results = [score(_task(tmp_path / f"{name}.nii.gz", tmp_path), DEFAULT) for name in ("same", "turned")]
    assert isinstance(results[0], Scores)
    assert results[0].values["WT", "dice"] == pytest.approx(2 * 27 / (27 + 30))
    assert results[1] == results[0]


@pytest.mark.parametrize(
    ("shape", "affine"),
    [
        ((7, 6, 5), np.eye(4)),
        ((5, 6, 7), np.diag([1, 1, 2, 1.0])),
        ((5, 6, 7), np.diag([-1, 1, 1, 1.0])),
    ],
    ids=["axes without their affine", "spacing", "flipped affine alone"],
)
def test_a_prediction_on_another_grid_is_refused(
    tmp_path: Path, shape: tuple[int, int, int], affine: np.ndarray
) -> None:
    write(tmp_path / "r.nii.gz", np.ones((5, 6, 7), np.uint8))
    nib.save(nib.Nifti1Image(np.ones(shape, np.uint8), affine), tmp_path / "p.nii.gz")
    result = score(_task(tmp_path / "p.nii.gz", tmp_path), DEFAULT)
    assert isinstance(result, Problem)
    assert "p.nii.gz is not on the grid of its reference; resample it" in result.reason


def _task(prediction: Path, folder: Path) -> Task:
    return Task("a", prediction, folder / "r.nii.gz", BRATS2021, BRATS2021)
