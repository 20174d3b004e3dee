"""Read and write NIfTI files, and reorient them to RAS+; the only module that opens raw image files.

nibabel reads the headers. `isal` inflates the bytes, 2.3 times as fast as zlib.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from isal import igzip

from brats_ablate.cases import NiftiPosition, Shape3d
from brats_ablate.errors import DataError
from brats_ablate.runtime.files import atomic_write
from brats_ablate.runtime.text import first_line

_COMPRESSION = 2
"""isal's level 2: within 10 % of gzip -6 in size, many times faster."""
_NIFTI_2 = ((540).to_bytes(4, "little"), (540).to_bytes(4, "big"))
"""First bytes of a NIFTI-2 file: the size of its header."""
_HEADER_BYTES = 540
"""Of NIFTI-2, the longer one."""
_MOST_BYTES, _MOST_TRAILING = 8 << 30, 1 << 20
"""Largest volume that is read, and bytes that may follow after it."""
_MM_OF_UNIT = {1: 1000.0, 3: 0.001}
"""Millimeters in NIfTI's meter and micrometer; a file without a unit is in mm."""


class NiftiFile(NamedTuple):
    """What a file contains."""

    array: np.ndarray
    """On the file's own grid and axes, of the stored type, or floating point where the header scales. Trailing axes of
    length 1 beyond the third are dropped."""
    affine: np.ndarray
    """4 × 4, voxel index to mm (RAS+ world): the header's sform, or else its qform, or else only its voxel sizes."""
    position: NiftiPosition


def read_file(path: Path) -> NiftiFile:
    """Read all voxels of a NIfTI-1 or NIfTI-2 file, gzipped or not.

    Raises:
        DataError: the file is missing, unreadable, truncated, or not NIfTI.
    """
    content = _read_bytes(path)
    try:
        kind = nib.Nifti2Image if content[:4] in _NIFTI_2 else nib.Nifti1Image
        image = kind.from_bytes(content)
        expected = int(image.dataobj.offset) + int(np.prod(image.shape)) * image.get_data_dtype().itemsize
        if len(content) < expected:
            raise DataError(f"{path} is truncated ({len(content)} of {expected} bytes); copy or download it again")
        array = np.asanyarray(image.dataobj)
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path} is not a readable NIfTI file ({first_line(error)}); replace it") from error
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    position = _position(image.header)
    affine = _scaled(image.affine, _MM_OF_UNIT.get(position.units, 1.0))
    return NiftiFile(array.astype(array.dtype.newbyteorder("="), copy=False), affine, position)


def read_volume(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the (X, Y, Z) volume of a file and its affine.

    Raises:
        DataError: as `read_file`, the file is 4-D, or the affine is not finite.
    """
    array, affine, _ = read_file(path)
    if not np.isfinite(affine).all():
        raise DataError(f"{path} has a position that is not finite in its header; export it again")
    return select_volume(path, array), affine


def select_volume(path: Path, array: np.ndarray, index: int | None = None, count: int = 1) -> np.ndarray:
    """Return the only volume of an array from `read_file`, or volume `index` of `count`.

    Raises:
        DataError: there are more or fewer volumes.
    """
    if index is None:
        if array.ndim != 3:
            raise DataError(f"{path} has shape {array.shape} where one 3-D volume was expected; check data.layout")
        return array
    if array.ndim != 4 or array.shape[3] != count:
        raise DataError(f"{path} has shape {array.shape} where {count} volumes were expected; check data.layout")
    volume: np.ndarray = array[..., index]
    return volume


def write_volume(path: Path, array: np.ndarray, affine: np.ndarray, position: NiftiPosition | None = None) -> None:
    """Write (X, Y, Z) `array` in its own type with `affine` (to mm), atomically; gzipped if the name ends in .gz.

    `position` is of a file on the same grid, whose codes, qform and unit are kept. Without one, `affine` becomes an
    aligned sform (code 2) in mm, and there is no qform.
    """
    if position is None:
        image = nib.Nifti1Image(array, affine, dtype=array.dtype)
        image.header.set_xyzt_units("mm")
    else:
        # Without an affine of its own the image keeps the header's fields as they are.
        image = nib.Nifti1Image(array, None, _header(affine, position), dtype=array.dtype)
    content = image.to_bytes()
    if path.name.endswith(".gz"):
        content = igzip.compress(content, compresslevel=_COMPRESSION, mtime=0)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def write_labels(path: Path, array: np.ndarray, affine: np.ndarray, position: NiftiPosition | None = None) -> None:
    """Write a label volume: (X, Y, Z) of the file's label values, stored as uint8. See `write_volume`."""
    write_volume(path, np.asarray(array, dtype=np.uint8), affine, position)


_QUATERNION, _OFFSET = ("quatern_b", "quatern_c", "quatern_d"), ("qoffset_x", "qoffset_y", "qoffset_z")


def _position(header: nib.Nifti1Header) -> NiftiPosition:
    def numbers(values: Any) -> tuple[float, ...]:
        return tuple(np.nan_to_num(np.asarray(values, dtype=np.float64), posinf=0.0, neginf=0.0).tolist())

    qform = [header[name] for name in (*_QUATERNION, *_OFFSET)]
    return NiftiPosition(
        qform_code=int(header["qform_code"]) if np.isfinite(qform).all() else 0,
        sform_code=int(header["sform_code"]),
        units=int(header["xyzt_units"]) & 7,
        pixdim=numbers(header["pixdim"][:4]),
        quaternion=numbers(qform[:3]),
        offset=numbers(qform[3:]),
    )


def _header(affine: np.ndarray, position: NiftiPosition) -> nib.Nifti1Header:
    header = nib.Nifti1Header()
    header["qform_code"], header["sform_code"] = position.qform_code, position.sform_code
    header["xyzt_units"], header["pixdim"][:4] = position.units, position.pixdim
    for name, value in zip((*_QUATERNION, *_OFFSET), (*position.quaternion, *position.offset), strict=True):
        header[name] = value
    if position.sform_code > 0:
        rows = _scaled(affine, 1 / _MM_OF_UNIT.get(position.units, 1.0))
        header["srow_x"], header["srow_y"], header["srow_z"] = rows[:3]
    return header


def _scaled(affine: np.ndarray, factor: float) -> np.ndarray:
    scaled = np.array(affine, dtype=np.float64)
    scaled[:3] *= factor
    return scaled


@dataclass(frozen=True)
class Orientation:
    """Mapping between the axes of a file and RAS+ (x to the right, y to the front, z up).

    BraTS files come as LPS and as RAS. Axes are only permuted and flipped, to the affine's nearest axes: no voxel is
    interpolated, so the inverse is exact.
    """

    axes: Shape3d
    """For each RAS+ axis, the file axis that runs along it."""
    flipped: tuple[bool, bool, bool]
    """For each RAS+ axis, whether the file runs in the opposite direction."""

    @staticmethod
    def of(affine: np.ndarray) -> Orientation:
        """Return the orientation of a 4 × 4 affine.

        Raises:
            ValueError: two file axes run along the same direction, or one along none.
        """
        mapping = nib.io_orientation(np.asarray(affine))
        if np.isnan(mapping).any():
            raise ValueError("its affine drops an axis")
        x, y, z = (int(np.flatnonzero(mapping[:, 0] == k)[0]) for k in range(3))
        return Orientation((x, y, z), (mapping[x, 1] < 0, mapping[y, 1] < 0, mapping[z, 1] < 0))

    def affine_in_ras(self, affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return the affine of `to_ras` of an array of `shape` (X, Y, Z) whose own is `affine`."""
        directions = [(self.axes.index(k), -1 if self.flipped[self.axes.index(k)] else 1) for k in range(3)]
        return np.asarray(affine @ nib.orientations.inv_ornt_aff(directions, shape))

    def to_ras(self, array: np.ndarray) -> np.ndarray:
        """Return a view of (..., file axes) as (..., X, Y, Z) in RAS+."""
        leading = array.ndim - 3
        permuted = array.transpose(*range(leading), *(leading + a for a in self.axes))
        return np.flip(permuted, tuple(leading + k for k, flip in enumerate(self.flipped) if flip))


def _read_bytes(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for, without an end
            raise DataError(f"{path} is no file; remove it, or give the folder of the images")
        content = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return _inflated(path, content)
    except DataError:
        raise
    except EOFError as error:
        raise DataError(f"{path} is a truncated gzip file; copy or download it again") from error
    except Exception as error:  # isal raises several unrelated types
        raise DataError(f"{path} is a damaged gzip file ({first_line(error)}); copy or download it again") from error


def _inflated(path: Path, content: bytes) -> bytes:
    """Inflate as much as the header declares: a few kilobytes can stand for terabytes."""
    with igzip.GzipFile(fileobj=BytesIO(content)) as reader:
        head = bytes(reader.peek(_HEADER_BYTES))
        try:
            is_2 = head[:4] in _NIFTI_2
            header = (nib.Nifti2Header if is_2 else nib.Nifti1Header)(head[: 540 if is_2 else 348], check=False)
            declared = int(header["vox_offset"]) + math.prod(header.get_data_shape()) * header.get_data_dtype().itemsize
        except Exception:  # no header: `read_file` says so
            return head
        if declared > _MOST_BYTES:
            raise DataError(
                f"{path} declares {header.get_data_shape()} voxels, more than {_MOST_BYTES >> 30} GiB; replace it"
            )
        # To the end, where the checksum is.
        inflated = bytes(reader.read(max(0, declared) + _MOST_TRAILING))
        if reader.read(1):
            raise DataError(
                f"{path} inflates to far more than the {declared} bytes that its header declares; replace it"
            )
    return inflated


def unreadable(path: Path, error: OSError) -> DataError:
    """Return the error about a raw file that the file system refuses to read."""
    return DataError(f"{path} cannot be read ({error.strerror}); check that it exists and its permissions")
