"""Voxel arrays on disk, the store's one file format: blosc2 `.b2nd`, int16 under lz4hc-4 with byte shuffle.

Codec and block shape were chosen by measurement: see the store's table in `docs/speed.md`.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import blosc2
import numpy as np

from brats_ablate.cases import BBox, Shape3d
from brats_ablate.errors import DataError
from brats_ablate.runtime import files

_CHUNK, _BLOCK = 64, 8
"""Voxels along the first two spatial axes. A block is a column along the whole last axis."""
_TAG = "content"


def write_array(path: Path, array: np.ndarray, content_hash: str) -> None:
    """Write `array` ((X, Y, Z) or (C, X, Y, Z)), tagged with the content hash of its case.

    The array is compressed in memory and written as ordinary bytes, so a full disk raises an OSError with its reason.
    """
    channels = array.shape[:-3]
    x, y, z = array.shape[-3:]
    chunks = (*channels, min(_CHUNK, x), min(_CHUNK, y), z)
    blocks = (*(1 for _ in channels), min(_BLOCK, x), min(_BLOCK, y), z)
    parameters = blosc2.CParams(
        codec=blosc2.Codec.LZ4HC,
        clevel=4,
        # Labels are single bytes: shuffling gains nothing and quadruples the reading time.
        filters=[blosc2.Filter.SHUFFLE if array.itemsize > 1 else blosc2.Filter.NOFILTER],
        typesize=array.itemsize,
        nthreads=1,
    )
    stored = blosc2.asarray(np.ascontiguousarray(array), chunks=chunks, blocks=blocks, cparams=parameters)
    stored.schunk.vlmeta[_TAG] = content_hash
    path.write_bytes(stored.to_cframe())


def read_array(
    path: Path, content_hash: str, shape: Shape3d, box: BBox | None = None, channels: Sequence[int] | None = None
) -> np.ndarray:
    """Return the array that `write_array` wrote, or the part inside `box` and, of a (C, X, Y, Z) one, of `channels`.

    Safe to call from several threads: each call opens the file and decompresses on its own thread. `shape` are the last
    three axes as recorded elsewhere, checked before memory is taken; `box` must lie inside of them.

    Raises:
        DataError: the file is missing, damaged, or has a different content hash.
        OSError: the file system failed; names the file.
    """
    try:
        stored = blosc2.open(str(path), mode="r", dparams=blosc2.DParams(nthreads=1))
        if not isinstance(stored, blosc2.NDArray):
            raise blosc2.UnsafeDeserializationError(type(stored).__name__)
        same = stored.schunk.vlmeta[_TAG] == content_hash
        if stored.shape[-3:] != shape:
            raise ValueError(f"shape {stored.shape} instead of {shape}")
        array = _read_part(path, stored, box or BBox((0, 0, 0), shape), channels)
    except blosc2.UnsafeDeserializationError as error:
        raise DataError(
            f"{path} is no plain array but a {error.kind}, which could run code or read other files; do not use it"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # of any kind, SyntaxError included, as wrong bytes lead blosc2 anywhere
        remedy = "delete its folder and run job=prepare again"
        raise DataError(f"{path} {_reason(path)}; {remedy}") from error
    if not same:
        raise DataError(
            f"{path} was prepared again since the cohort was last completed; run job=prepare again to complete it"
        )
    return array


def _read_part(path: Path, stored: blosc2.NDArray, box: BBox, channels: Sequence[int] | None) -> np.ndarray:
    """Return the part inside `box` of all channels of `stored`, opened from `path`, or of `channels`, in that order."""
    if library() is None:
        index = (..., *box.slices)
        # A list of channels in the index takes half as long again, or more.
        return stored[index] if channels is None else np.stack([stored[(c, *index)] for c in channels])
    leading = stored.shape[:-3]
    with _opened(path) as array:
        if channels is None:
            part = np.empty((*leading, *box.shape), stored.dtype)
            _fill(part, array, (*(0 for _ in leading), *box.start), (*leading, *box.stop))
            return part
        part = np.empty((len(channels), *box.shape), stored.dtype)
        for out, channel in zip(part, channels, strict=True):
            _fill(out[None], array, (channel, *box.start), (channel + 1, *box.stop))
        return part


# The package's own indexing keeps the interpreter lock while it decompresses: threads would read one after the other,
# and the training loop could not feed a GPU meanwhile. Its C library, called by ctypes, releases it.


@contextmanager
def _opened(path: Path) -> Iterator[ctypes.c_void_p]:
    array = ctypes.c_void_p()
    _succeeds(library().b2nd_open(os.fsencode(path), ctypes.byref(array)))
    try:
        yield array
    finally:
        library().b2nd_free(array)


def _fill(out: np.ndarray, array: ctypes.c_void_p, start: Sequence[int], stop: Sequence[int]) -> None:
    """Fill `out`, contiguous, with the values of an opened array from `start` to `stop`."""
    axes = ctypes.c_int64 * out.ndim
    buffer = (ctypes.c_void_p(out.ctypes.data), axes(*out.shape), ctypes.c_int64(out.nbytes))
    _succeeds(library().b2nd_get_slice_cbuffer(array, axes(*start), axes(*stop), *buffer))


def _succeeds(code: int) -> None:
    if code:
        raise ValueError(f"error {code} of the C library")


@lru_cache(maxsize=1)
def library() -> Any:
    """Return the C library that the package blosc2 brings along; None if it does not."""
    files_of_package = sorted((Path(blosc2.__file__).parent / "lib").glob("libblosc2.*"))
    for file in files_of_package:
        if ".so" in file.suffixes or file.suffix == ".dylib":
            loaded = ctypes.CDLL(str(file))
            loaded.blosc2_init()
            return loaded
    return None


def _reason(path: Path) -> str:
    """Return why blosc2 cannot read a file: blosc2 raises the same error for a bad file and a lost file system."""
    try:
        path.read_bytes()
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        raise files.with_filename(error, path) from error
    return "is damaged"
