"""Read a list of cases instead of searching a folder: CSV, or a MONAI datalist in JSON."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from brats_ablate.cases import RawCase
from brats_ablate.data.dataset_json import declared_order, find, order_in
from brats_ablate.data.folders import stem
from brats_ablate.data.folds import with_patients
from brats_ablate.data.layouts import SEGMENTATION, Layout
from brats_ablate.errors import ConfigError, DataError

_CASE, _PATIENT = "case", "patient"


def read_list(file: Path, layout: Layout) -> list[RawCase]:
    """Return the cases of a list, sorted by id; paths are relative to the list's folder.

    A CSV file has the columns case, one per modality (its name, or one of its names in files), and optionally
    segmentation and patient (without it, the one that the layout finds in the id). A JSON file is a MONAI datalist:
    {"training": [{"image": …, "label": …}, …]}, where image is one 4-D file or a list of files. Their modalities are
    those in their names, or else in the order of `layout.volumes`, of the JSON file's key channel_names or modality, of
    a dataset.json above 4-D or numbered images, or of `layout.modalities`. Case and patient are optional.

    Raises:
        ConfigError: there is no such file.
        DataError: the list cannot be read, or a line is wrong; names the line.
    """
    if not file.is_file():
        raise ConfigError(f"the list of cases {file} does not exist; give a .csv or .json file")
    rows = list(_datalist(file, layout) if file.suffix == ".json" else _table(file, layout))
    if not rows:
        raise DataError(f"{file} lists no case")
    cases: dict[str, RawCase] = {}
    for where, row in rows:
        case = _case(file, where, row, layout)
        if case.case_id in cases:
            raise DataError(f"{file}, {where}: case {case.case_id} is listed twice; remove one")
        cases[case.case_id] = case
    return [cases[case_id] for case_id in sorted(cases)]


def _case(file: Path, where: str, row: Mapping[str, Any], layout: Layout) -> RawCase:
    """Make a case of a row: case, patient, a file or (file, volume) per modality, segmentation."""

    def existing(value: Any) -> Path:
        path = file.parent / str(value)
        if not path.is_file():
            raise DataError(f"{file}, {where}: {path} does not exist; correct the path, which is relative to the list")
        return path

    images: dict[str, tuple[Path, int | None]] = {}
    for modality in layout.modalities:
        if value := row.get(modality):
            path, volume = value if isinstance(value, tuple) else (value, None)
            images[modality] = (existing(path), volume)
    segmentation = row.get(SEGMENTATION)
    case_id = str(row[_CASE])
    if "/" in case_id or case_id.startswith("."):
        raise DataError(f"{file}, {where}: case {case_id!r} must be a plain name, because files are named after it")
    given = row.get(_PATIENT)
    patient = "" if given is None else str(given)
    case = RawCase(case_id, patient or case_id, images, existing(segmentation) if segmentation else None)
    if not patient and layout.patient is not None and re.match(layout.patient, case_id):
        (case,) = with_patients([case], layout.patient)
    return case


def _table(file: Path, layout: Layout) -> Iterator[tuple[str, dict[str, str]]]:
    try:
        yield from _rows_of_table(file, layout)
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 text; save it as such") from error


def _rows_of_table(file: Path, layout: Layout) -> Iterator[tuple[str, dict[str, str]]]:
    with file.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        column_of: dict[str, str] = {}
        for name in reader.fieldnames or ():
            lower = name.strip().lower()
            column = layout.modality_of.get(lower, lower)
            if column not in (_CASE, _PATIENT, SEGMENTATION, *layout.modalities):
                known = ", ".join((_CASE, *layout.modalities, SEGMENTATION, _PATIENT))
                raise DataError(f"{file} has an unknown column {name!r}; the columns are {known}")
            if column in column_of.values():
                raise DataError(f"{file} has two columns for {column}; remove one")
            column_of[name] = column
        if _CASE not in column_of.values():
            raise DataError(f"{file} has no column case; add one with an id per line")
        for row in reader:
            if None in row or None in row.values():
                raise DataError(
                    f"{file}, line {reader.line_num}: it has not as many fields as the first line; correct it"
                )
            values = {column_of[name]: value.strip() for name, value in row.items()}
            if not values[_CASE]:
                raise DataError(f"{file}, line {reader.line_num}: the case is empty; give it an id")
            yield f"line {reader.line_num}", values


def _datalist(file: Path, layout: Layout) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        content = json.loads(file.read_bytes())
        entries = content["training"]
        if not isinstance(entries, list):
            raise TypeError("training is no list")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f'{file} is not a datalist, {{"training": [{{"image": …, "label": …}}]}}; correct it'
        ) from error
    order = _order(file, content, layout)
    derived: dict[str, Path] = {}
    for number, entry in enumerate(entries, start=1):
        where = f"training entry {number}"
        image = entry.get("image") if isinstance(entry, dict) else None
        names = [str(name) for name in image] if isinstance(image, list) else []
        files: dict[str, Any]
        if named := _modalities_in(names, f"{file}, {where}", layout, order):
            files = dict(zip(named, names, strict=True))
        elif names and len(names) == len(order):
            files = dict(zip(order, names, strict=True))
        elif isinstance(image, str) and image:
            files = {m: (image, i if len(order) > 1 else None) for i, m in enumerate(order)}
        else:
            raise DataError(f"{file}, {where}: image must be one file, or {len(order)} in the order {', '.join(order)}")
        first = file.parent / (names[0] if names else str(image))
        case_id = entry.get(_CASE)
        if case_id in (None, ""):
            case_id = layout.fields_in(first).get("case")
        if case_id is None:
            case_id = stem(first.name)
            if derived.setdefault(case_id, first) != first or case_id.lower() in layout.modality_of:
                raise DataError(
                    f'{file}, {where}: the names of the images ({first.name}, …) do not tell the case; add "case" to '
                    "each entry"
                )
        yield where, {_CASE: case_id, _PATIENT: entry.get(_PATIENT), SEGMENTATION: entry.get("label"), **files}


def _order(file: Path, content: Mapping[str, Any], layout: Layout) -> Sequence[str]:
    """Return the modality of each volume, number or place in a list of images."""
    modalities = tuple(layout.modalities)
    if layout.volumes is not None:
        return layout.volumes
    if "channel_names" in content or "modality" in content:
        return order_in(content, file, layout.modality_of, modalities)
    if "{modality}" in layout.images:
        return modalities
    entries = [entry["image"] for entry in content["training"] if isinstance(entry, dict) and entry.get("image")]
    images = [image for entry in entries for image in (entry if isinstance(entry, list) else [entry])]
    paths = [path for path in find(file.parent, [file.parent / str(i) for i in images]) if path != file.absolute()]
    declared = declared_order(paths, layout.modality_of, modalities)
    if declared is None and any("number" in layout.fields_in(Path(str(image))) for image in images):
        raise DataError(
            f"{file} has no channel_names, so what the numbers of the files mean is unknown; add it, or set "
            f"data.layout.volumes=[{','.join(modalities)}] in the order of the numbers"
        )
    return declared or modalities


def _modalities_in(names: Sequence[str], where: str, layout: Layout, order: Sequence[str]) -> list[str]:
    """Return the modality that each file's name tells; none if no name tells one.

    Raises:
        DataError: only some names tell one, or two the same.
    """
    named = [layout.modality_in(Path(name), order) for name in names]
    if not any(m is not None for m in named):
        return []
    if None in named:
        raise DataError(
            f"{where}: the name of {names[named.index(None)]} tells no modality and those of other images do; rename "
            "it, or add its name to data.layout.modalities"
        )
    told = [m for m in named if m]
    if doubled := [m for m in told if told.count(m) > 1]:
        raise DataError(f"{where}: the names of its images give {doubled[0]} twice; correct them")
    return [m or "" for m in named]
