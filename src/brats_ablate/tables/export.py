"""Exports the per-case rows behind the tables in long form: one line per run, case and region."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from brats_ablate.labels import REGIONS
from brats_ablate.runtime.files import atomic_write
from brats_ablate.tables.case_scores import ET_REFERENCE, rows_of_epoch
from brats_ablate.tables.run_summary import RunSummary

HEADER = ("experiment", "fold", "lr", "seed", "epoch", "case", "region", "metric", "value", ET_REFERENCE)


def write_case_rows(runs: Iterable[RunSummary], file: Path) -> int:
    """Write the best epoch's rows of every run that was validated; returns the number of lines."""
    lines = 0
    with atomic_write(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(HEADER)
        for run in runs:
            where = run.coordinates
            start = (where.name, where.fold, f"{where.lr:g}", where.seed, run.best_epoch)
            for row in rows_of_epoch(run.directory, run.best_epoch or 0):
                size = row.get(ET_REFERENCE, "")
                writer.writerows((*start, row["case"], region, "dice", row[region], size) for region in REGIONS)
                lines += len(REGIONS)
    return lines
