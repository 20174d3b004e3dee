"""`job=calibration`: do the probabilities mean what they say? Reads predictions/, writes evaluation/calibration/.

Uses the saved probabilities of `job=predict`: the cross-validated ones of the prepared set, as `job=tune` does, or
those of raw cases with segmentations, such as a test set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig

from brats_ablate.errors import ConfigError, DataError
from brats_ablate.inference.prediction_store import PredictionFolder
from brats_ablate.jobs.build import build_scheme, open_store
from brats_ablate.jobs.predict.case_source import PREPARED, open_source
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.metrics.calibration import Reliability, mean_defined, near_tumor, reliability
from brats_ablate.runtime.files import finite_or_null, write_json
from brats_ablate.tuning.search import TuningCases, cross_validated_cases

if TYPE_CHECKING:
    import numpy as np

    from brats_ablate.data.case_reader import PreparedCase
    from brats_ablate.tables.table import Table

CaseReliability = dict[str, dict[str, Reliability]]
"""Set of voxels -> region -> sums of one case."""
_BRAIN, _NEAR = "brain", "near_tumor"


class ScoredCase(NamedTuple):
    """What the calibration of a case is computed from, in the cropped volume."""

    probabilities: np.ndarray
    """(R, X, Y, Z) float16."""
    labels: np.ndarray
    """(X, Y, Z) label map of the reference."""
    brain: np.ndarray
    """(X, Y, Z) bool."""
    spacing_mm: tuple[float, float, float]


Reader = Callable[[str], ScoredCase | None]
"""Case id -> case; None for a case without a segmentation. Picklable."""


def run(cfg: DictConfig, *, predictions: str, source: str, bins: int, margin_mm: float, workers: int | None) -> None:
    """Compute the calibration of every region, print it, and write it as JSON.

    Raises:
        ConfigError: a key is invalid.
        DataError: the predictions of prepared cases are not cross-validated, or lack probabilities; nothing can be
            scored; or raw cases are missing or invalid, and all others are scored first.
    """
    from rich.console import Console

    from brats_ablate.runtime.progress import with_progress
    from brats_ablate.runtime.workers import process_map
    from brats_ablate.tables import terminal

    if bins < 1:
        raise ConfigError(f"job.bins={bins} must be at least 1; 15 is usual")
    if margin_mm < 0:
        raise ConfigError(f"job.margin_mm={margin_mm} must be a distance in mm, 0 or more")
    folder = Path(cfg.paths.predictions) / predictions
    ids, read, problems = _prepared(cfg, folder) if source == PREPARED else _raw(cfg, folder, source)
    score = partial(case_reliability, read=read, labels=build_scheme(cfg), bins=bins, margin_mm=margin_mm)
    results = with_progress(process_map(score, ids, workers=workers), "calibration", len(ids))
    of_cases = {case_id: result for case_id, result in zip(ids, results, strict=True) if result is not None}
    if not of_cases:
        reason = f"; {_first(problems)}" if problems else ""
        raise DataError(f"no case of {source} has both saved probabilities and a segmentation, as is needed{reason}")
    content = summarize(of_cases)
    provenance = {"predictions": str(folder), "source": source, "cases": len(of_cases)}
    file = Path(cfg.paths.evaluation) / "calibration" / f"{predictions}.json"
    write_json(file, finite_or_null({**provenance, "bins": bins, "margin_mm": margin_mm, **content}))
    terminal.show([calibration_table(predictions, content["voxels"], margin_mm)], Console())
    left_out = len(ids) - len(of_cases)
    print(f"{len(of_cases)} cases{f', {left_out} without a segmentation left out' if left_out else ''}: {file}")
    if problems:
        raise DataError(
            f"{len(problems)} cases of {source} are not scored ({_first(problems)}); fix them, and run job=predict "
            f"job.source={source} job.output={predictions} job.probabilities=true first"
        )


def _first(problems: Mapping[str, str]) -> str:
    return ": ".join(min(problems.items()))


def _prepared(cfg: DictConfig, folder: Path) -> tuple[Sequence[str], Reader, Mapping[str, str]]:
    cases = cross_validated_cases(folder, open_store(cfg))
    return cases.ids, partial(read_prepared, cases=cases), {}


def _raw(cfg: DictConfig, folder: Path, source: str) -> tuple[Sequence[str], Reader, Mapping[str, str]]:
    """Return the predicted cases, their reader, and case id -> reason of the others."""
    raw, predicted = open_source(cfg, source, None, segmentations=True), PredictionFolder(folder)
    labels, recorded = build_scheme(cfg), predicted.manifest().get("labels", {}).get("convention")
    if recorded is not None and not LabelScheme.of_key(recorded).has_regions_of(labels):
        name = recorded if isinstance(recorded, str) else recorded["name"]
        raise ConfigError(f"{folder} was predicted with labels={name}, which has other regions; set labels={name}")
    ids = [case_id for case_id in raw.case_ids if predicted.has_probabilities(case_id)]
    problems = dict.fromkeys(set(raw.case_ids) - set(ids), "it has no saved probabilities") | raw.problems
    return ids, partial(read_raw, folder=folder, load=raw.load), problems


def read_prepared(case_id: str, cases: TuningCases) -> ScoredCase:
    """Read a case of the prepared set."""
    from brats_ablate.data.store import CaseStore, stored_spacing_mm

    store = CaseStore(cases.prepared)
    brain = (store.read_images(case_id) != 0).any(axis=0)
    return ScoredCase(*cases.read(case_id), brain, stored_spacing_mm(store.record(case_id)))


def read_raw(case_id: str, folder: Path, load: Callable[[str], PreparedCase]) -> ScoredCase | None:
    """Read a raw case, in the box that was predicted: that of the images, whatever the segmentation labels outside it.

    Raises:
        DataError: the case is invalid, or has another grid or box than the one that was predicted.
    """
    from brats_ablate.data.store import stored_spacing_mm

    probabilities, record = PredictionFolder(folder).read_probabilities(case_id)
    case = load(case_id)
    if case.labels is None:
        return None
    box, whole = record.box, case.record.box
    inside = tuple(slice(a - b, c - b) for a, b, c in zip(box.start, whole.start, box.stop, strict=True))
    is_inside = all(s.start >= 0 and s.stop <= size for s, size in zip(inside, whole.shape, strict=True))
    if not is_inside or (record.grid, record.resampled_mm) != (case.record.grid, case.record.resampled_mm):
        raise DataError(f"{folder} has {case_id} with other images than those of job.source; predict it again")
    brain = (case.images != 0).any(axis=0)
    return ScoredCase(probabilities, case.labels[inside], brain[inside], stored_spacing_mm(record))


def case_reliability(
    case_id: str, read: Reader, labels: LabelScheme, bins: int, margin_mm: float
) -> CaseReliability | None:
    """Return the sums of one case; None without a segmentation. Runs in a worker process."""
    case = read(case_id)
    if case is None:
        return None
    reference = labels.to_regions_np(case.labels)
    near = near_tumor(case.probabilities, reference, case.brain, case.spacing_mm, margin_mm)
    return {
        name: {
            region: reliability(p[voxels], r[voxels], bins)
            for region, p, r in zip(labels.regions, case.probabilities, reference, strict=True)
        }
        for name, voxels in ((_BRAIN, case.brain), (_NEAR, near))
    }


def summarize(of_cases: Mapping[str, CaseReliability]) -> dict[str, Any]:
    """Return the values pooled over cases, their means over cases, and those of each case, as plain containers."""
    first = next(iter(of_cases.values()))
    voxels: dict[str, dict[str, Any]] = {}
    for name, regions in first.items():
        for region in regions:
            parts = [case[name][region] for case in of_cases.values()]
            pooled = sum(parts[1:], parts[0])
            voxels.setdefault(name, {})[region] = {
                "voxels": pooled.voxels,
                "ece": pooled.ece,
                "brier": pooled.brier,
                "mean_case_ece": mean_defined([part.ece for part in parts]),
                "mean_case_brier": mean_defined([part.brier for part in parts]),
                "counts": pooled.counts.tolist(),
                "confidence": pooled.confidence,
                "frequency": pooled.frequency,
            }
    by_case = {
        case_id: {
            name: {region: {"ece": part.ece, "brier": part.brier} for region, part in regions.items()}
            for name, regions in case.items()
        }
        for case_id, case in of_cases.items()
    }
    return {"voxels": voxels, "by_case": by_case}


def calibration_table(name: str, voxels: Mapping[str, Mapping[str, Any]], margin_mm: float) -> Table:
    """Return the values of every region and set of voxels."""
    from brats_ablate.tables.table import Number, Row, Table, Words, headers

    keys = ("ece", "mean_case_ece", "brier", "mean_case_brier")
    rows: list[Row] = [
        (
            Words(region),
            Words(where.replace("_", " ")),
            *(Number(values[key], "{:.5f}".format) for key in keys),
            Number(values["voxels"], "{:,.0f}".format),
        )
        for where, regions in voxels.items()
        for region, values in regions.items()
    ]
    shown = headers("region", "voxels of", "ECE", "ECE, case mean", "Brier", "Brier, case mean", "voxels")
    note = (
        "ECE and Brier pool the voxels of all cases; a case mean averages the cases' own values. Near tumor: brain "
        f"within {margin_mm:g} mm of the reference or of a probability of 0.5 in any region"
    )
    return Table(name, f"{name}: calibration", shown, tuple(rows), (note,))
