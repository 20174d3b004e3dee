"""Case records to JSON and back: what the prepared store keeps of a case beside its voxels."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from brats_ablate.cases import BBox, CaseMetadata, Component, ImageGeometry


def to_json(record: CaseMetadata) -> dict[str, Any]:
    """Plain values of `record`; blobs as rows [tissue, voxels, start, stop, samples], as cases can have hundreds."""
    plain = asdict(record)
    plain["blobs"] = [[b.tissue, b.voxels, b.box.start, b.box.stop, b.samples] for b in record.blobs]
    return plain


def from_json(plain: dict[str, Any]) -> CaseMetadata:
    """The inverse of `to_json`, after a trip through JSON."""
    return CaseMetadata(
        case_id=plain["case_id"],
        patient_id=plain["patient_id"],
        grid=ImageGeometry(_tuple(plain["grid"]["shape"]), _tuple(plain["grid"]["affine"])),
        box=BBox(_tuple(plain["box"]["start"]), _tuple(plain["box"]["stop"])),
        mean=_tuple(plain["mean"]),
        std=_tuple(plain["std"]),
        has_labels=plain["has_labels"],
        blobs=tuple(Component(t, n, BBox(_tuple(a), _tuple(b)), _tuple(s)) for t, n, a, b, s in plain["blobs"]),
        content=plain["content"],
    )


def _tuple(value: Any) -> Any:
    return tuple(_tuple(v) for v in value) if isinstance(value, list | tuple) else value
