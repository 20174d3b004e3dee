"""`job=calibration`: do the probabilities mean what they say? Reads predictions/, writes evaluation/calibration/.

Uses the saved, cross-validated probabilities of `job=predict`, as `job=tune` does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from brats_ablate.errors import ConfigError
from brats_ablate.jobs.build import open_store
from brats_ablate.metrics.calibration import Reliability, mean_defined, near_tumor, reliability
from brats_ablate.runtime.files import finite_or_null, write_json
from brats_ablate.tuning.search import TuningCases, cross_validated_cases

if TYPE_CHECKING:
    from brats_ablate.tables.table import Table

CaseReliability = dict[str, dict[str, Reliability]]
"""Set of voxels -> region -> sums of one case."""
_BRAIN, _NEAR = "brain", "near_tumor"


def run(cfg: DictConfig, *, predictions: str, bins: int, margin_mm: float, workers: int | None) -> None:
    """Compute the calibration of every region, print it, and write it as JSON.

    Raises:
        ConfigError: a key is invalid.
        DataError: the predictions are not cross-validated, or their probabilities were not saved.
    """
    from rich.console import Console

    from brats_ablate.runtime.progress import ProgressBar
    from brats_ablate.runtime.workers import process_map
    from brats_ablate.tables import terminal

    if isinstance(bins, bool) or not isinstance(bins, int) or bins < 1:
        raise ConfigError(f"job.bins={bins} must be at least 1; 15 is usual")
    if isinstance(margin_mm, bool) or not isinstance(margin_mm, int | float) or not 0 <= margin_mm < math.inf:
        raise ConfigError(f"job.margin_mm={margin_mm} must be a distance in mm, 0 or more")
    if workers is not None and workers < 1:
        raise ConfigError(f"job.workers={workers} must be at least 1, or null for one per core")
    cases = cross_validated_cases(Path(cfg.paths.predictions) / predictions, open_store(cfg))
    score = partial(case_reliability, cases=cases, bins=bins, margin_mm=margin_mm)
    of_cases: dict[str, CaseReliability] = {}
    with ProgressBar("calibration", len(cases.ids)) as progress:
        for case_id, result in zip(cases.ids, process_map(score, cases.ids, workers=workers), strict=True):
            of_cases[case_id] = result
            progress.advance()
    content = summarize(of_cases)
    provenance = {"predictions": str(cases.folder), "cases": len(of_cases), "bins": bins, "margin_mm": margin_mm}
    file = Path(cfg.paths.evaluation) / "calibration" / f"{predictions}.json"
    write_json(file, finite_or_null({**provenance, **content}))
    terminal.show([calibration_table(predictions, content["voxels"], margin_mm)], Console())
    print(f"{len(of_cases)} cases: {file}")


def case_reliability(case_id: str, cases: TuningCases, bins: int, margin_mm: float) -> CaseReliability:
    """Return the sums of one case. Runs in a worker process."""
    from brats_ablate.data.store import CaseStore, stored_spacing_mm

    store = CaseStore(cases.prepared)
    probabilities, labels = cases.read(case_id)
    reference = cases.labels.to_regions_np(labels)
    brain = (store.read_images(case_id) != 0).any(axis=0)
    near = near_tumor(probabilities, reference, brain, stored_spacing_mm(store.record(case_id)), margin_mm)
    return {
        name: {
            region: reliability(p[voxels], r[voxels], bins)
            for region, p, r in zip(cases.labels.regions, probabilities, reference, strict=True)
        }
        for name, voxels in ((_BRAIN, brain), (_NEAR, near))
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
