"""Find the cases of a raw data set by file name, without opening any file.

Supports four public layouts (data sections of Baid et al. 2021, Bakas et al. 2018, the BraTS 2023 challenge pages and
Simpson et al. 2019). Missing or duplicate files are reported by `validation.validate_files`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from brats_ablate.cases import RawCase
from brats_ablate.errors import DataError

_BRATS_2018_FILE = re.compile(r"(?P<case>.+)_(?P<kind>flair|t1|t1ce|t1gd|t2|seg)\.nii(\.gz)?", re.IGNORECASE)
_BRATS_2023_FILE = re.compile(r"(?P<case>BraTS-.+-\d+-\d{3})-(?P<kind>t2f|t1n|t1c|t2w|seg)\.nii(\.gz)?")
_BRATS_2018_CASE = re.compile(r"BraTS[^_]*_.*\d", re.IGNORECASE)
_BRATS_2023_CASE = re.compile(r"BraTS-.+-\d+-\d{3}")
_KINDS = {"t1gd": "t1ce", "t2f": "flair", "t1n": "t1", "t1c": "t1ce", "t2w": "t2"}

_MSD_ORDER = ("flair", "t1", "t1ce", "t2")
"""Volumes of an MSD Task01 file, in the order of its dataset.json: FLAIR, T1w, t1gd, T2w."""

_ENDINGS = (".nii", ".nii.gz")
_EXPECTED = {
    "brats2021": "BraTS2021_00000/BraTS2021_00000_flair.nii.gz",
    "brats2018": "HGG/<case>/<case>_flair.nii.gz",
    "brats2023": "BraTS-GLI-00000-000/BraTS-GLI-00000-000-t2f.nii.gz",
    "msd": "imagesTr/BRATS_001.nii.gz",
}


def find_cases(root: Path, layout: str, *, need_segmentation: bool) -> list[RawCase]:
    """Return the cases below `root`, sorted by id, complete or not.

    Args:
        root: the folder of the data set; it is searched to any depth (HGG/LGG subfolders, for example).
        layout: brats2021, brats2018 (2018 to 2020), brats2023 (and later) or msd.
        need_segmentation: skip folders that never contain segmentations (MSD's imagesTs). A case of another folder
            that lacks its segmentation is still returned, for `validation.validate_files` to report.

    Returns:
        RawCase objects; a missing modality is absent from `images`. An id that occurs twice is returned twice.

    Raises:
        DataError: `root` or a folder below it cannot be read, or contains no case of this layout.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; point data.raw at the unpacked data set")
    cases = sorted(_FINDERS[layout](root, need_segmentation), key=lambda c: c.case_id)
    if not cases:
        raise DataError(
            f"{root} contains no case of layout {layout!r} (such as {_EXPECTED[layout]}){_other_layout(root, layout)}; "
            "check data.raw and data.layout"
        )
    return cases


def _other_layout(root: Path, layout: str) -> str:
    for other in ("brats2021", "brats2023", "msd"):
        if {other, layout} != {"brats2021", "brats2018"} and any(_FINDERS[other](root, False)):
            return f", its files look like {other!r}"
    return ""


def _find_by_file_name(
    root: Path, need_segmentation: bool, file: re.Pattern[str], folder: re.Pattern[str]
) -> Iterator[RawCase]:
    """Yield the cases of a layout with one file per modality; one case per (folder, id)."""
    files_of: dict[tuple[Path, str], dict[str, Path]] = {}
    unrecognized: dict[Path, tuple[str, ...]] = {}
    for where, subfolders, volumes in _walk(root):
        for name, path in volumes.items():
            if match := file.fullmatch(name):
                kind = match["kind"].lower()
                files_of.setdefault((where, match["case"]), {})[_KINDS.get(kind, kind)] = path
        unrecognized[where] = tuple(name for name in volumes if not file.fullmatch(name))
        is_empty = not subfolders and not any(key[0] == where for key in files_of)
        if is_empty and folder.fullmatch(where.name):
            files_of[where, where.name] = {}
    for (where, case_id), files in files_of.items():
        images = {m: (files[m], None) for m in _MSD_ORDER if m in files}
        # From BraTS 2023 on, an id ends in the number of one of the patient's scans.
        patient_id = case_id.rsplit("-", maxsplit=1)[0] if _BRATS_2023_CASE.fullmatch(case_id) else case_id
        yield RawCase(case_id, patient_id, images, files.get("seg"), unrecognized[where])


def _find_msd(root: Path, need_segmentation: bool) -> Iterator[RawCase]:
    for folder in ("imagesTr",) if need_segmentation else ("imagesTr", "imagesTs"):
        for _, _, volumes in _walk(root / folder) if (root / folder).is_dir() else ():
            for name, path in volumes.items():
                case_id = name.removesuffix(".gz").removesuffix(".nii")
                candidates = [root / "labelsTr" / f"{case_id}{ending}" for ending in (".nii.gz", ".nii")]
                segmentation = next((c for c in candidates if folder == "imagesTr" and c.is_file()), None)
                images = {m: (path, i) for i, m in enumerate(_MSD_ORDER)}
                yield RawCase(case_id, case_id, images, segmentation)


_find_brats2018 = partial(_find_by_file_name, file=_BRATS_2018_FILE, folder=_BRATS_2018_CASE)
_find_brats2023 = partial(_find_by_file_name, file=_BRATS_2023_FILE, folder=_BRATS_2023_CASE)
_FINDERS: dict[str, Callable[[Path, bool], Iterator[RawCase]]] = {
    "brats2021": _find_brats2018,
    "brats2018": _find_brats2018,
    "brats2023": _find_brats2023,
    "msd": _find_msd,
}


def name_of(kind: str, like: str) -> str:
    """Return the name of a case's file of `kind` (a modality or seg), given the name of another file of the case."""
    for pattern in (_BRATS_2018_FILE, _BRATS_2023_FILE):
        if match := pattern.fullmatch(like):
            own = {v: k for k, v in _KINDS.items() if k != "t1gd"}.get(kind, kind)
            named = own if pattern is _BRATS_2023_FILE else kind
            return like[: match.start("kind")] + named + like[match.end("kind") :]
    return kind


def _walk(root: Path) -> Iterator[tuple[Path, list[str], dict[str, Path]]]:
    """Yield each folder, its subfolders and its NIfTI files by name, in sorted order, links followed.

    Hidden names are skipped (macOS creates `._…` twins, and archives of it a `__MACOSX` tree), and what links reach a
    second time. `x.nii.gz` follows `x.nii` in the order, so it is preferred where both exist.

    Raises:
        DataError: a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise DataError(f"folder {error.filename} cannot be read ({error.strerror}); check its permissions")

    seen = {root.resolve()}

    def is_new(path: Path) -> bool:
        real = path.resolve()
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
        DataError: it does not contain exactly one NIfTI file.
    """
    files = [
        path for path in sorted(folder.iterdir()) if path.name.endswith(_ENDINGS) and not path.name.startswith(".")
    ]
    if len(files) != 1:
        raise DataError(f"{folder} is a folder with {len(files)} NIfTI files; put the file itself in its place")
    return files[0]
