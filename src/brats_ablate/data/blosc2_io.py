"""Voxel arrays on disk: the store's one file format, blosc2 `.b2nd`.

Raw int16 under lz4hc-4 with byte shuffle is lossless and a sixth of float32: 8 MiB a case, so that 1,251 cases take
10 GB, which a node's page cache holds, and 5 ms for a 128³ patch of four modalities. Of the other settings measured
lz4hc-2 is written in half the time and takes a fifth more to read; lz4hc-9 saves 3 % and a tenth of the reading, and
takes four times as long to write. Beside lz4hc-2, zstd saved a seventh and took twice as long to read, and bit shuffle
and lz4 were both larger and slower. Blocks are columns of 8 × 8 voxels along the whole last axis: a 128³ patch touches
little more of them than itself, and they are copied in long rows; an eighth faster than blocks of 32³ or 16³.
"""

from __future__ import annotations

from pathlib import Path

import blosc2
import numpy as np

from brats_ablate.cases import BBox
from brats_ablate.errors import DataError
from brats_ablate.runtime import files

_CHUNK, _BLOCK = 64, 8
"""Voxels along the first two spatial axes."""
_TAG = "content"


def write_array(path: Path, array: np.ndarray, content: str) -> None:
    """Write `array` ((X, Y, Z) or (C, X, Y, Z)), tagged with the hash `content` of the case that it belongs to.

    Compressed in memory and written as ordinary bytes, so that a full disk is an OSError that says so.
    """
    channels = array.shape[:-3]
    x, y, z = array.shape[-3:]
    chunks = (*channels, min(_CHUNK, x), min(_CHUNK, y), z)
    blocks = (*(1 for _ in channels), min(_BLOCK, x), min(_BLOCK, y), z)
    parameters = blosc2.CParams(
        codec=blosc2.Codec.LZ4HC,
        clevel=4,
        # Single bytes, the labels, have nothing to shuffle, and reading them would take four times as long.
        filters=[blosc2.Filter.SHUFFLE if array.itemsize > 1 else blosc2.Filter.NOFILTER],
        typesize=array.itemsize,
        nthreads=1,
    )
    stored = blosc2.asarray(np.ascontiguousarray(array), chunks=chunks, blocks=blocks, cparams=parameters)
    stored.schunk.vlmeta[_TAG] = content
    path.write_bytes(stored.to_cframe())


def read_array(path: Path, content: str, box: BBox | None = None) -> np.ndarray:
    """The array of `write_array`, or the part of it inside `box` (spatial axes; the box must lie inside the volume).

    Safe to call from several threads: each call opens the file for itself and decompresses on its own thread.

    Raises:
        DataError: the file is missing, damaged, or belongs to another preparation than `content` says.
        OSError: the file system does not give it out; names the file.
    """
    try:
        stored = blosc2.open(str(path), mode="r", dparams=blosc2.DParams(nthreads=1))
        same = stored.schunk.vlmeta[_TAG] == content
        index = ... if box is None else (..., *box.slices)
        array: np.ndarray = stored[index]
    except (OSError, RuntimeError, KeyError) as error:
        fault = _fault(path)
        remedy = "delete its folder and run `python -m brats_ablate job=prepare` again"
        raise DataError(f"{path} {fault}; {remedy}") from error
    if not same:
        raise DataError(
            f"{path} was prepared again since the cohort was last completed; run `python -m brats_ablate job=prepare`"
        )
    return array


def _fault(path: Path) -> str:
    """What is wrong with a file that blosc2 cannot read, as it does not tell a bad file from a lost file system."""
    try:
        path.read_bytes()
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        raise files.with_filename(error, path) from error
    return "is damaged"
