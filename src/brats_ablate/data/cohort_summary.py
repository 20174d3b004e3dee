"""What a prepared cohort contains, in a few lines: a wrong scheme, order or background shows here first."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brats_ablate.cases import ImageGeometry
from brats_ablate.data.nifti import Orientation
from brats_ablate.data.store import FIRST_MODALITIES
from brats_ablate.labels.scheme import LabelScheme

_VISIT = re.compile(r"[-_](\d{1,3}|FU\w+|visit\w*|ses\w*)$", re.IGNORECASE)
"""End of a case id that looks like the number of a patient's visit."""


def cohort_summary(described: Sequence[Mapping[str, Any]], labels: LabelScheme) -> list[str]:
    """Return the lines about the cases of a cohort, from the content of each case.json."""
    records = [d["record"] for d in described]
    return [
        _tissues(records, labels),
        f"channels: {', '.join(described[0].get('channels', FIRST_MODALITIES))}{_volumes(described)}",
        _background(described),
        _patients(records),
        _spacing(records),
    ]


def _tissues(records: Sequence[Mapping[str, Any]], labels: LabelScheme) -> str:
    voxels: Counter[int] = Counter()
    for tissue, count in ((blob[0], blob[1]) for record in records for blob in record["blobs"]):
        voxels[tissue] += count
    total = voxels.total()
    shares = [
        f"{values[0]} {tissue} {voxels[label] / total:.1%}" if total else f"{values[0]} {tissue} -"
        for label, (tissue, values) in enumerate(zip(labels.tissues, labels.file_values, strict=True), start=1)
    ]
    unlabeled = sum(not record["has_labels"] for record in records)
    empty = sum(record["has_labels"] and not record["blobs"] for record in records)
    notes = [f"{unlabeled} cases without a segmentation"] if unlabeled else []
    notes += [f"{empty} cases without a labeled voxel"] if empty else []
    return f"labels ({labels.name}): {', '.join(shares)} of the labeled voxels{''.join(f'; {n}' for n in notes)}"


def _volumes(described: Sequence[Mapping[str, Any]]) -> str:
    orders = {tuple(d["volumes"]) for d in described if None not in d.get("volumes", [None])}
    return (
        f" (volumes {' or '.join(', '.join(map(str, order)) for order in sorted(orders))} of the files)"
        if orders
        else ""
    )


def _background(described: Sequence[Mapping[str, Any]]) -> str:
    values = sorted({value for d in described for value in d.get("backgrounds", [])})
    if not values or values == [0]:
        return "background: 0"
    return f"background: {values[0]:.4g}" + (f" to {values[-1]:.4g}" if len(values) > 1 else "") + ", mapped to 0"


def _patients(records: Sequence[Mapping[str, Any]]) -> str:
    scans = Counter(record["patient_id"] for record in records)
    several = sum(count > 1 for count in scans.values())
    line = f"patients: {len(scans)} with {len(records)} scans"
    if several:
        return f"{line}, {several} of them with several"
    stems: dict[str, list[str]] = {}
    for record in records:
        stems.setdefault(_VISIT.sub("", record["case_id"]), []).append(record["case_id"])
    visits = next((ids for ids in stems.values() if len(ids) > 1), None)
    if visits is None or len(stems) == 1:
        return line
    return f"{line}; if {visits[0]} and {visits[1]} are one patient, set data.patient to keep them in one fold"


def _spacing(records: Sequence[Mapping[str, Any]]) -> str:
    spacings = Counter(_spacing_in_ras(record) for record in records)
    shown = ", ".join("×".join(f"{x:g}" for x in spacing) for spacing, _ in spacings.most_common(3))
    resampled = next((record["resampled_mm"] for record in records if record.get("resampled_mm")), None)
    then = f", resampled to {'×'.join(f'{x:g}' for x in resampled)} mm" if resampled else ""
    return f"voxels: {shown}{', …' if len(spacings) > 3 else ''} mm{then}"


def _spacing_in_ras(record: Mapping[str, Any]) -> tuple[float, ...]:
    """Return the voxel edges of a case's files in mm, in the order of `data.spacing`, whatever that of their axes."""
    grid = ImageGeometry(record["grid"]["shape"], record["grid"]["affine"])
    return tuple(round(grid.spacing_mm[axis], 3) for axis in Orientation.of(np.asarray(grid.affine)).axes)
