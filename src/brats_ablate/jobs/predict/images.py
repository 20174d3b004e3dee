"""The images of one case, given to the Python interface as arrays, files or a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from brats_ablate.cases import NiftiPosition, RawCase
from brats_ablate.data import nifti
from brats_ablate.data.dataset_json import declared_order, find
from brats_ablate.data.folders import stem
from brats_ablate.data.layouts import Layout
from brats_ablate.data.raw_cases import find_cases
from brats_ablate.errors import DataError
from brats_ablate.runtime.text import first_few

Image: TypeAlias = "np.ndarray | str | Path"
Images: TypeAlias = "np.ndarray | str | Path | Sequence[str | Path] | Mapping[str, Image]"
"""One case; see `case_predictor.CasePredictor`."""
_ALIGNED = 2
"""NIfTI's code of coordinates that were aligned to another image."""


@dataclass(frozen=True)
class GivenCase:
    """The case that a call names, and how its images are read."""

    raw: RawCase
    read: Callable[[Path], nifti.NiftiFile]


def given_case(images: Images, affine: npt.ArrayLike | None, modalities: Sequence[str], layout: Layout) -> GivenCase:
    """Return the case of a call.

    Args:
        images: see `case_predictor.CasePredictor`.
        affine: 4 × 4, voxel index to mm, of arrays; None for arrays whose axes run to the right, front and top in
            steps of 1 mm.
        modalities: of the channels of one array, and of files whose names do not tell.
        layout: names of files.

    Raises:
        DataError: it is not one case, or arrays do not have three axes and one modality each.
    """
    if isinstance(images, np.ndarray):
        if images.ndim != 4 or len(images) != len(modalities):
            raise DataError(
                f"the array of images has shape {images.shape}; it must be ({len(modalities)}, X, Y, Z), with the "
                f"channels {', '.join(modalities)}"
            )
        return _of_images(dict(zip(modalities, images, strict=True)), affine)
    if isinstance(images, Mapping):
        unknown = [str(m) for m in images if m not in layout.modalities]
        if unknown:
            raise DataError(f"{unknown[0]} is not a modality; the images may be {', '.join(layout.modalities)}")
        return _of_images(images, affine)
    if not isinstance(images, Sequence | Path):
        raise DataError(_no_image("images", images))
    for i, file in enumerate([] if isinstance(images, str | Path) else images):
        if not isinstance(file, str | Path):
            raise DataError(f"images[{i}] is a {type(file).__name__}; give files, or one array of all channels")
    if affine is not None:
        raise DataError("affine is that of arrays; files have their own, so leave it out")
    if isinstance(images, str | Path):
        path = Path(images)
        if not path.exists():
            raise DataError(f"{path} does not exist; give the folder of a case, or its files")
        case = _case_in(path, layout) if path.is_dir() else _of_files([path], modalities, layout)
        return GivenCase(case, nifti.read_file)
    return GivenCase(_of_files([Path(file) for file in images], modalities, layout), nifti.read_file)


def _no_image(name: str, value: object) -> str:
    remedy = f"give {name}.numpy()" if hasattr(value, "numpy") else "give a file, or an array"
    return f"{name} is a {type(value).__name__}; {remedy}"


def _of_images(images: Mapping[str, Image], affine: npt.ArrayLike | None) -> GivenCase:
    """Return the case of a modality's arrays or files; the channels in the order of `images`."""
    for modality, image in images.items():
        if not isinstance(image, np.ndarray | str | Path):
            raise DataError(_no_image(f"images[{modality}]", image))
    arrays = {Path(f"images[{m}]"): image for m, image in images.items() if isinstance(image, np.ndarray)}
    if affine is not None and not arrays:
        raise DataError("affine is that of arrays; files have their own, so leave it out")
    matrix = np.eye(4) if affine is None else np.asarray(affine, dtype=np.float64)
    if matrix.shape != (4, 4):
        raise DataError(f"affine has shape {matrix.shape}; it must be 4 × 4, from voxel index to mm")
    position = NiftiPosition(0, _ALIGNED, 2, (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    for path, array in arrays.items():
        if array.ndim != 3:
            raise DataError(f"{path} has shape {array.shape}; it must be (X, Y, Z)")
    paths = {m: Path(f"images[{m}]") if isinstance(i, np.ndarray) else Path(i) for m, i in images.items()}

    def read(path: Path) -> nifti.NiftiFile:
        return nifti.NiftiFile(arrays[path], matrix, position) if path in arrays else nifti.read_file(path)

    return GivenCase(RawCase("images", "images", {m: (path, None) for m, path in paths.items()}, None), read)


def _case_in(folder: Path, layout: Layout) -> RawCase:
    cases = find_cases(folder, layout, need_segmentation=False, key="images")
    if len(cases) != 1:
        listed = first_few([case.case_id for case in cases])
        raise DataError(f"{folder} contains {len(cases)} cases ({listed}); give the folder or the files of one")
    return replace(cases[0], segmentation=None)  # nothing of a prediction may depend on one next to the images


def _of_files(files: Sequence[Path], modalities: Sequence[str], layout: Layout) -> RawCase:
    """Return the case of files: modalities by their names if all have one, else in the order of `modalities`."""
    case_id = stem(files[0].name) if files else ""
    if len(files) == 1 and layout.is_4d:
        order = _declared(files, layout) or tuple(layout.modalities)
        images = {m: (files[0], order.index(m) if len(order) > 1 else None) for m in layout.modalities}
        return RawCase(case_id, case_id, images, None)
    told = [] if layout.is_4d else [layout.fields_in(file).get("case") for file in files]
    if len(case_ids := list(dict.fromkeys(case for case in told if case is not None))) > 1:
        raise DataError(f"the files are of several cases ({', '.join(case_ids[:3])}); give the files of one")
    named = _modalities_of(files, layout)
    if files and all(m is not None for m in named):
        if doubled := [m for m in named if m and named.count(m) > 1]:
            raise DataError(f"the names of the files give {doubled[0]} twice; give one file of each modality")
        return RawCase(case_id, case_id, {m: (f, None) for m, f in zip(named, files, strict=True) if m}, None)
    if any(m is not None for m in named) or len(files) != len(modalities):
        if missing := [file for file in files if not file.exists()]:
            raise DataError(f"{missing[0]} does not exist; correct the path")
        listed = ", ".join(file.name for file in files)
        raise DataError(f"which modalities the files {listed or '(none)'} are is unclear; {_by_name(modalities)}")
    return RawCase(case_id, case_id, {m: (file, None) for m, file in zip(modalities, files, strict=True)}, None)


def _modalities_of(files: Sequence[Path], layout: Layout) -> list[str | None]:
    """Return the modality that the name of each file tells; None if it tells none, "" for an unused channel."""
    is_numbered = any("number" in layout.fields_in(file) for file in files)
    order = _declared(files, layout) if is_numbered else ()
    if order is None:
        raise DataError(
            f"no dataset.json above {files[0]} says what the numbers of the files mean; add it, or "
            f"{_by_name(list(layout.modalities))}"
        )
    return [layout.modality_in(file, order) for file in files]


def _declared(files: Sequence[Path], layout: Layout) -> Sequence[str] | None:
    """Return the declared modality of each volume or number; None if nobody declares it."""
    if layout.volumes is not None:
        return layout.volumes
    return declared_order(find(files[0].parent, files), layout.modality_of, tuple(layout.modalities))


def _by_name(modalities: Sequence[str]) -> str:
    return f"give them by name, as {{{modalities[0]!r}: 'file.nii.gz', …}} with {', '.join(modalities)}"
