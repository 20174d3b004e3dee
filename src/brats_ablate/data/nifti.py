"""Read and write NIfTI files, and reorient them to RAS+; the only module that opens raw image files.

nibabel reads the headers. `isal` inflates the bytes, 2.3 times as fast as zlib.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip

from brats_ablate.cases import Shape3d
from brats_ablate.errors import DataError
from brats_ablate.runtime.files import atomic_write

_COMPRESSION = 2
"""isal's level 2: within 10 % of gzip -6 in size, many times faster."""
_NIFTI_2 = ((540).to_bytes(4, "little"), (540).to_bytes(4, "big"))
"""First bytes of a NIFTI-2 file: the size of its header."""


def read_file(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read all voxels of a NIfTI-1 or NIfTI-2 file, gzipped or not.

    Returns:
        The array on the file's own grid and axes, of the stored type, or floating point where the header scales.
        Trailing axes of length 1 beyond the third are dropped. And the 4 × 4 affine (voxel index to mm, RAS+ world).

    Raises:
        DataError: the file is missing, unreadable, truncated, or not NIfTI, or its affine is not finite.
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
        raise DataError(f"{path} is not a readable NIfTI file ({_first_line(error)}); replace it") from error
    if not np.isfinite(image.affine).all():
        raise DataError(f"{path} has a position that is not finite in its header; export it again")
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    return array.astype(array.dtype.newbyteorder("="), copy=False), np.asarray(image.affine, dtype=np.float64)


def read_volume(path: Path, index: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read one (X, Y, Z) volume and its affine; `index` selects it in a 4-D file. Raises DataError as `read_file`."""
    array, affine = read_file(path)
    return select_volume(path, array, index), affine


def select_volume(path: Path, array: np.ndarray, index: int | None) -> np.ndarray:
    """Return volume `index` of an array from `read_file`; DataError if the array has too few axes or volumes."""
    if index is None:
        if array.ndim != 3:
            raise DataError(f"{path} has shape {array.shape} where one 3-D volume was expected; check data.layout")
        return array
    if array.ndim != 4 or index >= array.shape[3]:
        raise DataError(f"{path} has shape {array.shape} where four volumes were expected; check data.layout")
    volume: np.ndarray = array[..., index]
    return volume


def write_volume(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write (X, Y, Z) `array` in its own type with `affine`, in mm, atomically; gzipped if the name ends in .gz."""
    image = nib.Nifti1Image(array, affine, dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    content = image.to_bytes()
    if path.name.endswith(".gz"):
        content = igzip.compress(content, compresslevel=_COMPRESSION, mtime=0)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def write_labels(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write a label volume: (X, Y, Z) of the file's label values, stored as uint8. Atomic."""
    write_volume(path, np.asarray(array, dtype=np.uint8), affine)


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
        content = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        return bytes(igzip.decompress(content)) if content.startswith(b"\x1f\x8b") else content
    except EOFError as error:
        raise DataError(f"{path} is a truncated gzip file; copy or download it again") from error
    except Exception as error:  # isal raises several unrelated types
        raise DataError(f"{path} is a damaged gzip file ({_first_line(error)}); copy or download it again") from error


def unreadable(path: Path, error: OSError) -> DataError:
    """Return the error about a raw file that the file system refuses to read."""
    return DataError(f"{path} cannot be read ({error.strerror}); check that it exists and its permissions")


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
