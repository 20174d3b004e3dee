"""Fixtures of the data tests: raw cases as real NIfTI files, in every layout and orientation."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

SHAPE = (12, 14, 10)
AFFINES = {
    "LPS": np.diag([-1.0, -1.0, 1.0, 1.0]) + np.array([[0, 0, 0, 0], [0, 0, 0, 239], [0, 0, 0, 0], [0, 0, 0, 0]]),
    "RAS": np.diag([1.0, 1.0, 1.0, 1.0]) + np.array([[0, 0, 0, -90], [0, 0, 0, -126], [0, 0, 0, -72], [0, 0, 0, 0]]),
    # First file axis runs down, second to the right, third to the front; 2 × 1 × 1.5 mm.
    "permuted": np.array([[0, 1.0, 0, 3], [0, 0, 1.5, -4], [-2.0, 0, 0, 5], [0, 0, 0, 1]]),
}
NAMES = {
    "brats2021": "{id}/{id}_{kind}.nii.gz",
    "brats2018": "HGG/{id}/{id}_{kind}.nii.gz",
    "brats2023": "{id}/{id}-{kind}.nii.gz",
}
KINDS_2023 = {"flair": "t2f", "t1": "t1n", "t1ce": "t1c", "t2": "t2w", "seg": "seg"}
VALUES = {"brats2021": (0, 2, 1, 4), "brats2023": (0, 2, 1, 3), "msd": (0, 1, 2, 3)}
"""File value of each nested label, written out as an oracle for the label schemes of version 0.1."""


def synthetic_case(number: int, shape: tuple[int, int, int] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """Images (4, X, Y, Z) int16 with a zero border, and nested labels inside the brain."""
    rng = np.random.default_rng(number)
    images = np.zeros((4, *shape), dtype=np.int16)
    brain = tuple(slice(2 + i, s - 1) for i, s in enumerate(shape))
    inside = images[(slice(None), *brain)]
    inside[:] = rng.integers(1, 3000, inside.shape)
    nested = np.zeros(shape, dtype=np.uint8)
    corner = [4, 5, 5]
    nested[corner[0] : corner[0] + 6, corner[1] : corner[1] + 6, corner[2] : corner[2] + 4] = 1
    nested[corner[0] + 1 : corner[0] + 5, corner[1] + 1 : corner[1] + 4, corner[2] + 1 : corner[2] + 3] = 3
    nested[corner[0] + 2 : corner[0] + 3, corner[1] + 2, corner[2] + 1] = 2
    return images, nested


def save_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


@pytest.fixture
def write_raw() -> Callable[..., Path]:
    """write_raw(root, case_id, layout, orientation="LPS", segmentation=True, number=0, convention=None) -> root"""

    def write(
        root: Path,
        case_id: str,
        layout: str = "brats2021",
        orientation: str = "LPS",
        *,
        segmentation: bool = True,
        number: int = 0,
        convention: str | None = None,
    ) -> Path:
        images, nested = synthetic_case(number)
        affine = AFFINES[orientation]
        values = VALUES[convention or {"brats2018": "brats2021"}.get(layout, layout)]
        seg = np.array(values, dtype=np.uint8)[nested]
        if layout == "msd":
            save_nifti(root / "imagesTr" / f"{case_id}.nii.gz", np.moveaxis(images, 0, -1), affine)
            if segmentation:
                save_nifti(root / "labelsTr" / f"{case_id}.nii.gz", seg, affine)
            return root
        for kind, array in zip(("flair", "t1", "t1ce", "t2", "seg"), (*images, seg), strict=True):
            if kind != "seg" or segmentation:
                named = KINDS_2023[kind] if layout == "brats2023" else kind
                save_nifti(root / NAMES[layout].format(id=case_id, kind=named), array, affine)
        return root

    return write


@pytest.fixture
def raw_cohort(tmp_path: Path, write_raw: Callable[..., Path]) -> Path:
    """Five valid BraTS 2021 cases."""
    for number in range(5):
        write_raw(tmp_path / "raw", f"BraTS2021_{number:05d}", number=number)
    return tmp_path / "raw"


@pytest.fixture
def spoil() -> Callable[..., Path]:
    """spoil(root, case_id, kind, change, affine=None) rewrites one BraTS 2021 file with change(array)."""

    def rewrite(
        root: Path,
        case_id: str,
        kind: str,
        change: Callable[[np.ndarray], np.ndarray] = lambda a: a,
        affine: np.ndarray | None = None,
    ) -> Path:
        path = root / case_id / f"{case_id}_{kind}.nii.gz"
        with gzip.open(path) as file:
            image = nib.Nifti1Image.from_bytes(file.read())
        array = change(np.asanyarray(image.dataobj).copy())
        save_nifti(path, array, image.affine if affine is None else affine)
        return path

    return rewrite


@pytest.fixture
def real_cases() -> Path:
    """The folder of real BraTS 2021 cases; skips, by name, where BRATS_ABLATE_REAL_CASES is unset."""
    folder = os.environ.get("BRATS_ABLATE_REAL_CASES")
    if folder is None:
        pytest.skip("BRATS_ABLATE_REAL_CASES is not set")
    return Path(folder)
