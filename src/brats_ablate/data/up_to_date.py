"""What the case.json of a stored case records: whether `job=prepare` would write the same, and which files it is of."""

from __future__ import annotations

import contextlib
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from brats_ablate.cases import RawCase
from brats_ablate.data import nifti, store
from brats_ablate.data.case_reader import ReadingRules, source_files
from brats_ablate.errors import DataError, Unreadable
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.runtime.files import read_json


def case_folder(prepared: Path, case_id: str) -> Path:
    """Return the folder of a case in the store."""
    return prepared / store.CASES / case_id


def sources_of(raw: RawCase) -> list[list[Any]]:
    """Return name, size and time of each raw file, by which a changed case is recognized."""
    return [[path.name, *size_and_time(path)] for path in source_files(raw)]


def size_and_time(file: Path) -> list[int]:
    """Return size and time of a file, which links to it and copies with its time have, too.

    Raises:
        DataError: it cannot be read.
    """
    try:
        stat = file.stat()
    except OSError as error:
        raise nifti.unreadable(file, error) from error
    return [stat.st_size, stat.st_mtime_ns]


def is_source(prepared: Path, case_id: str, file: Path) -> bool:
    """Return whether a stored case was prepared from `file`, by size and time; False where its record is damaged."""
    described: dict[str, Any] = {}
    with contextlib.suppress(Unreadable):
        described = read_json(case_folder(prepared, case_id) / "case.json")
    return size_and_time(file) in [source[1:] for source in described.get("sources") or ()]


def recorded(rules: ReadingRules) -> dict[str, Any]:
    """Return what a stored case depends on; of the labels only the tissues: regions and scores are computed later."""
    of_files = {field.name: getattr(rules, field.name) for field in fields(rules) if field.name != "labels"}
    return {"tissues": rules.labels.to_dict()["tissues"], **of_files, "spacing": rules.spacing and list(rules.spacing)}


def channels_of(raw: RawCase) -> dict[str, list[Any]]:
    """Return the modality of each channel, and its volume in a 4-D file."""
    return {"channels": list(raw.images), "volumes": [index for _, index in raw.images.values()]}


def is_up_to_date(prepared: Path, raw: RawCase, rules: ReadingRules) -> bool:
    """Return whether the stored case is of the same files, read in the same way, by the same format."""
    folder = case_folder(prepared, raw.case_id)
    try:
        described = json.loads((folder / "case.json").read_bytes())
        record = described["record"]
        if "convention" in described:  # of version 0.1
            described["tissues"] = LabelScheme.named_before(described["convention"]).to_dict()["tissues"]
        by_default = {field.name: field.default for field in fields(ReadingRules) if field.name != "labels"}
        read_by = {key: described.get(key, default) for key, default in by_default.items()}
        read_by |= {"tissues": described["tissues"]}
        same_order = list(described["tissues"]) == list(rules.labels.tissues)
        channels = channels_of(raw)
        before = {"channels": list(store.FIRST_MODALITIES), "volumes": list(range(len(store.FIRST_MODALITIES)))}
        if None in channels["volumes"]:
            before["volumes"] = [None] * len(store.FIRST_MODALITIES)
        stored_channels = {key: described.get(key, before[key]) for key in channels}
        stored = [
            stored_channels,
            described["version"],
            read_by,
            described["sources"],
            record["patient_id"],
            same_order,
        ]
        files = ["images.b2nd", "labels.b2nd"] if record["has_labels"] else ["images.b2nd"]
        files += [store.REFERENCE] if record["has_labels"] and "resampled_mm" in record else []
        current = [channels, store.VERSION, recorded(rules), sources_of(raw), raw.patient_id, True]
        return stored == current and all((folder / f).is_file() for f in files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DataError):  # whatever the file has become
        return False
