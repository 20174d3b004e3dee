"""Reading parts of stored arrays, by the C library that releases the interpreter lock, and by the package without it."""

from __future__ import annotations

from pathlib import Path

import blosc2
import numpy as np
import pytest

from brats_ablate.cases import BBox
from brats_ablate.data import blosc2_io

SHAPE = (70, 9, 11)
WHOLE = BBox((0, 0, 0), SHAPE)
INSIDE = BBox((3, 2, 1), (67, 8, 10))


@pytest.fixture(params=["C library", "package"])
def reading(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "package":
        monkeypatch.setattr(blosc2_io, "library", lambda: None)
    elif blosc2_io.library() is None:
        pytest.skip("this build of blosc2 brings no C library along")


@pytest.mark.usefixtures("reading")
@pytest.mark.parametrize("box", [None, WHOLE, INSIDE])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("channels", [None, [2, 0], [1]])
def test_a_part_is_that_of_the_array(
    tmp_path: Path, dtype: type[np.generic], box: BBox | None, channels: list[int] | None
) -> None:
    array = np.random.default_rng(0).integers(-1000, 1000, (3, *SHAPE)).astype(dtype)
    blosc2_io.write_array(tmp_path / "a.b2nd", array, "hash")
    part = blosc2_io.read_array(tmp_path / "a.b2nd", "hash", SHAPE, box, channels)
    expected = array if channels is None else array[channels]
    np.testing.assert_array_equal(part, expected if box is None else expected[(slice(None), *box.slices)])
    assert part.dtype == dtype
    assert part.flags.c_contiguous


@pytest.mark.usefixtures("reading")
@pytest.mark.parametrize("box", [None, INSIDE])
def test_a_label_map_has_no_channels(tmp_path: Path, box: BBox | None) -> None:
    array = np.random.default_rng(1).integers(0, 4, SHAPE, dtype=np.uint8)
    blosc2_io.write_array(tmp_path / "labels.b2nd", array, "hash")
    part = blosc2_io.read_array(tmp_path / "labels.b2nd", "hash", SHAPE, box)
    np.testing.assert_array_equal(part, array if box is None else array[box.slices])


def test_the_package_for_linux_brings_the_library_along() -> None:
    folder = Path(blosc2.__file__).parent / "lib"
    assert (blosc2_io.library() is not None) == any(folder.glob("libblosc2.*so*"))
