"""Walk through the NIfTI files of a folder: hidden files, links, and folders that replace files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from brats_ablate.errors import DataError

_ENDINGS = (".nii", ".nii.gz")


def stem(name: str) -> str:
    """Return a file's name without .nii or .nii.gz."""
    return name.removesuffix(".gz").removesuffix(".nii")


def walk(root: Path) -> Iterator[tuple[Path, list[str], dict[str, Path]]]:
    """Yield each folder, its subfolders and its NIfTI files by name, in sorted order, links followed.

    Hidden names are skipped (macOS creates `._…` twins, and archives of it a `__MACOSX` tree), and what links reach a
    second time. `x.nii.gz` follows `x.nii` in the order, so it is preferred where both exist.

    Raises:
        DataError: a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise _unreadable(error) from error

    seen = {os.path.realpath(root)}

    def is_new(path: Path) -> bool:
        real = os.path.realpath(path)  # Path.resolve raises on a link to itself before Python 3.13
        is_first = real not in seen
        seen.add(real)
        return is_first

    for folder, subfolders, names in os.walk(root, onerror=fail, followlinks=True):
        where = Path(folder)
        visible = sorted(name for name in subfolders if not name.startswith((".", "__MACOSX")))
        unpacked = [name for name in visible if name.endswith(_ENDINGS)]
        subfolders[:] = [name for name in visible if name not in unpacked and is_new(where / name)]
        paths = {name: where / name for name in names if not name.startswith(".") and name.endswith(_ENDINGS)}
        paths |= {name: _unpacked(where / name) for name in unpacked}
        yield where, subfolders, {name: paths[name] for name in sorted(paths) if is_new(paths[name])}


def _unpacked(folder: Path) -> Path:
    """Return the only file of a folder that is named like one: some archive tools make such a folder of each file.

    Raises:
        DataError: it does not contain exactly one NIfTI file, or cannot be read.
    """
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise _unreadable(error) from error
    files = [folder / name for name in names if name.endswith(_ENDINGS) and not name.startswith(".")]
    if len(files) != 1:
        raise DataError(f"{folder} is a folder with {len(files)} NIfTI files; put the file itself in its place")
    return files[0]


def _unreadable(error: OSError) -> DataError:
    return DataError(f"folder {error.filename} cannot be read ({error.strerror}); check its permissions")
