"""Written files lie where the input lies, for every program: codes, both forms and the unit are the input's."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from brats_ablate.data import nifti

ARRAY = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
OBLIQUE = np.array([[0.98, -0.199, 0, -7], [0.199, 0.98, 0, 20], [0, 0, 1, -3], [0, 0, 0, 1]]) @ np.diag(
    [-1.5, -1, 3, 1]
)
MOVED = np.array([[1, 0, 0, 3.5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ OBLIQUE
FIELDS = (
    *("qform_code", "sform_code", "xyzt_units", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)


def _save(path: Path, qform_code: int, sform_code: int, units: str = "mm", kind: type = nib.Nifti1Image) -> Path:
    header = kind.header_class()
    header.set_data_shape(ARRAY.shape)
    header.set_qform(OBLIQUE, qform_code)
    if sform_code:
        header.set_sform(MOVED, sform_code)
    header.set_xyzt_units(units)
    nib.save(kind(ARRAY, None, header), path)
    return path


def _copy_of(path: Path, out: Path) -> Path:
    file = nifti.read_file(path)
    nifti.write_labels(out, file.array % 5, file.affine, file.position)
    return out


@pytest.mark.parametrize("codes", [(1, 1), (1, 2), (0, 2), (1, 0), (3, 4), (0, 0)])
@pytest.mark.parametrize("units", ["mm", "unknown", "micron", "meter"])
def test_codes_both_forms_and_unit_are_kept(tmp_path: Path, codes: tuple[int, int], units: str) -> None:
    source = _save(tmp_path / "in.nii.gz", *codes, units)
    written = _copy_of(source, tmp_path / "out.nii.gz")
    before, after = nib.load(source), nib.load(written)
    for field in FIELDS:
        np.testing.assert_array_equal(after.header[field], before.header[field], err_msg=field)
    np.testing.assert_array_equal(after.header["pixdim"][:4], before.header["pixdim"][:4])
    np.testing.assert_array_equal(after.affine, before.affine)
    np.testing.assert_array_equal(np.asanyarray(after.dataobj), ARRAY % 5)
    assert after.get_data_dtype() == np.uint8


@pytest.mark.parametrize("codes", [(1, 1), (0, 2), (1, 0)])
def test_nifti_2_is_repeated_in_single_precision(tmp_path: Path, codes: tuple[int, int]) -> None:
    source = _save(tmp_path / "in.nii", *codes, kind=nib.Nifti2Image)
    before, after = nib.load(source), nib.load(_copy_of(source, tmp_path / "out.nii"))
    assert (after.header["qform_code"], after.header["sform_code"]) == codes
    np.testing.assert_allclose(after.affine, before.affine, atol=1e-5)
    np.testing.assert_allclose(after.header.get_qform(), before.header.get_qform(), atol=1e-5)


@pytest.mark.parametrize("codes", [(1, 1), (1, 2), (0, 2), (1, 0)])
def test_itk_places_input_and_output_alike(tmp_path: Path, codes: tuple[int, int]) -> None:
    source = _save(tmp_path / "in.nii", *codes)
    before, after = (SimpleITK.ReadImage(str(p)) for p in (source, _copy_of(source, tmp_path / "out.nii")))
    for part in ("GetOrigin", "GetDirection", "GetSpacing", "GetSize"):
        np.testing.assert_allclose(getattr(after, part)(), getattr(before, part)(), atol=1e-5)


@pytest.mark.parametrize("units", ["mm", "unknown", "micron", "meter"])
def test_affines_are_in_mm_as_itks(tmp_path: Path, units: str) -> None:
    path = _save(tmp_path / "in.nii", 0, 2, units)
    edges = np.linalg.norm(nifti.read_file(path).affine[:3, :3], axis=0)
    np.testing.assert_allclose(edges, SimpleITK.ReadImage(str(path)).GetSpacing(), rtol=1e-5)


def test_a_qform_that_is_not_finite_is_left_out(tmp_path: Path) -> None:
    source = _save(tmp_path / "in.nii", 1, 2)
    image = nib.load(source)
    content = source.read_bytes()
    header = nib.Nifti1Header(content[:348], check=False)
    header["quatern_b"], header["qoffset_x"] = np.nan, np.inf
    source.write_bytes(header.binaryblock + content[348:])
    position = nifti.read_file(source).position
    assert (position.qform_code, position.sform_code) == (0, 2)
    json.dumps(asdict(position), allow_nan=False)
    np.testing.assert_array_equal(nib.load(_copy_of(source, tmp_path / "out.nii")).affine, image.affine)
