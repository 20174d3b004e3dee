"""Headers and encodings as converters leave them: the right data, or one sentence with file and remedy."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from schemes import BRATS2021, LAYOUTS

from brats_ablate.data.case_reader import PreparedCase, ReadingRules, read_case
from brats_ablate.data.raw_cases import find_cases
from brats_ablate.errors import DataError
from brats_ablate.jobs.predict import write_case

Change = Callable[[bytes, int], bytes]
CASE = "BraTS2021_00000"
REMEDY = r"export it again, or set data\.trust_affine_of to a modality of this case whose header is right$"


def _read(root: Path, trusted: str | None = None) -> PreparedCase:
    raw = find_cases(root, LAYOUTS["brats2021"], need_segmentation=True)[0]
    return read_case(raw, ReadingRules(BRATS2021, trust_affine_of=trusted))


def _patched(**fields: object) -> Change:
    """Set header fields in the bytes, as nibabel would correct them."""

    def change(content: bytes, _: int) -> bytes:
        header = nib.Nifti1Header(content[:348], check=False)
        for name, value in fields.items():
            header[name] = value
        return header.binaryblock + content[348:]

    return change


def _rewrite(root: Path, change: Change, kinds: str = "flair t1 t1ce t2 seg") -> None:
    for number, kind in enumerate(kinds.split()):
        path = root / CASE / f"{CASE}_{kind}.nii.gz"
        path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()), number)))


def _members(root: Path) -> None:
    """As pigz and bgzip write: several gzip members, the last one empty."""
    for path in (root / CASE).iterdir():
        content = gzip.decompress(path.read_bytes())
        parts = [content[i : i + 700] for i in range(0, len(content), 700)]
        path.write_bytes(b"".join(map(gzip.compress, [*parts, b""])))


def _big_endian(root: Path) -> None:
    def change(content: bytes, _: int) -> bytes:
        array = np.asanyarray(nib.Nifti1Image.from_bytes(content).dataobj)
        header = nib.Nifti1Header(content[:348]).as_byteswapped(">")
        return header.binaryblock + content[348:352] + array.astype(array.dtype.newbyteorder(">")).tobytes("F")

    _rewrite(root, change)


def _labels_as(dtype: type, scaled: bool) -> Callable[[Path], None]:
    def rewrite(root: Path) -> None:
        path = root / CASE / f"{CASE}_seg.nii.gz"
        image = nib.load(path)
        written = nib.Nifti1Image(np.asarray(image.dataobj).astype(np.float64), image.affine)
        written.set_data_dtype(dtype)
        nib.save(written, path)
        assert (nib.load(path).dataobj.slope != 1) == scaled

    return rewrite


@pytest.mark.parametrize(
    "change",
    [_members, _big_endian, _labels_as(np.uint16, scaled=True), _labels_as(np.float64, scaled=False)],
    ids=["multi_member_gz", "big_endian", "scaled_labels", "float_labels"],
)
def test_another_encoding_gives_the_same_case(raw_cohort: Path, change: Callable[[Path], None]) -> None:
    expected = _read(raw_cohort)
    change(raw_cohort)
    found = _read(raw_cohort)
    assert found.record.content_hash == expected.record.content_hash
    np.testing.assert_array_equal(found.images, expected.images)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"srow_x": np.nan, "sform_code": 1}, r"has a position that is not finite in its header; "),
        (
            {"srow_x": 0, "srow_y": 0, "srow_z": 0, "sform_code": 1},
            r"has no usable geometry: its affine drops an axis; ",
        ),
        ({"sform_code": 0, "qform_code": 0}, r"has no position in its header .* so left and right are unknown; "),
    ],
    ids=["nan_affine", "zero_affine", "no_codes"],
)
def test_a_lost_position_is_reported_and_can_be_replaced(raw_cohort: Path, fields: dict, sentence: str) -> None:
    expected = _read(raw_cohort)
    _rewrite(raw_cohort, _patched(**fields), "flair seg")
    with pytest.raises(DataError, match=rf"{CASE}_flair\.nii\.gz {sentence}{REMEDY}"):
        _read(raw_cohort)
    replaced = _read(raw_cohort, trusted="t1")
    assert replaced.record.content_hash == expected.record.content_hash
    assert replaced.record.grid == expected.record.grid
    _rewrite(raw_cohort, _patched(**fields), "t1 t1ce t2")
    with pytest.raises(DataError, match=sentence):
        _read(raw_cohort, trusted="t1")


def test_the_sform_places_the_voxels_and_the_qform_is_kept(raw_cohort: Path, tmp_path: Path) -> None:
    image = nib.load(raw_cohort / CASE / f"{CASE}_flair.nii.gz")
    image.set_qform(image.affine, 1)
    qform = image.header
    fields = {
        name: qform[name] for name in ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
    }
    _rewrite(raw_cohort, _patched(sform_code=2, srow_x=[-1, 0, 0, 3.5], qform_code=1, **fields))
    case = _read(raw_cohort)
    moved = np.array(image.affine)
    moved[0, 3] = 3.5
    np.testing.assert_array_equal(case.record.grid.affine, moved)
    write_case(tmp_path / "out.nii.gz", case.labels, case.record, BRATS2021)
    written, source = nib.load(tmp_path / "out.nii.gz"), nib.load(raw_cohort / CASE / f"{CASE}_seg.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), np.asanyarray(source.dataobj))
    for form in ("get_sform", "get_qform"):
        affine, code = getattr(written, form)(coded=True)
        expected, expected_code = getattr(source, form)(coded=True)
        np.testing.assert_array_equal(affine, expected)
        assert code == expected_code
    assert not np.allclose(written.get_qform(), written.get_sform())


def test_a_label_file_that_lost_its_origin_is_reported_and_can_be_replaced(raw_cohort: Path) -> None:
    expected = _read(raw_cohort)
    _rewrite(raw_cohort, _patched(srow_x=[-1, 0, 0, 0], srow_y=[0, -1, 0, 0]), "seg")
    with pytest.raises(DataError, match=r"_seg\.nii\.gz has another origin than .* 239 mm; .*data\.trust_affine_of"):
        _read(raw_cohort)
    assert _read(raw_cohort, trusted="flair").record.content_hash == expected.record.content_hash


def test_rounding_of_an_oblique_header_is_tolerated(raw_cohort: Path) -> None:
    rows = np.array([[-0.955, 0.296, 0, 0], [-0.296, -0.955, 0, 239], [0, 0, 1, 0]])
    _rewrite(raw_cohort, _patched(srow_x=rows[0], srow_y=rows[1], srow_z=rows[2]))
    expected = _read(raw_cohort)
    assert expected.record.grid.affine[0][1] == pytest.approx(0.296)

    def noisy(content: bytes, number: int) -> bytes:
        return _patched(srow_x=rows[0] + number * 2e-6)(content, number)

    _rewrite(raw_cohort, noisy)
    assert _read(raw_cohort).record.content_hash == expected.record.content_hash


def test_values_beyond_int16_are_kept(raw_cohort: Path) -> None:
    expected = _read(raw_cohort)
    for kind, factor, dtype in (("flair", 20, np.uint16), ("t2", np.float32(1.37), np.float32)):
        path = raw_cohort / CASE / f"{CASE}_{kind}.nii.gz"
        image = nib.load(path)
        nib.save(nib.Nifti1Image((np.asarray(image.dataobj).astype(dtype) * factor).astype(dtype), image.affine), path)
    found = _read(raw_cohort)
    assert found.images.dtype == np.float32
    assert found.images[0].max() > np.iinfo(np.int16).max
    np.testing.assert_array_equal(found.images[0], expected.images[0].astype(np.float32) * 20)
    np.testing.assert_array_equal(found.images[3], expected.images[3] * np.float32(1.37))
