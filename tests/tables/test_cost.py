"""Cost from records by hand, and old records that say less."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from brats_ablate.runs.directory import RunDirectory
from brats_ablate.tables.build import ResultsStore, TableResult, build
from brats_ablate.tables.cost import cost_of
from brats_ablate.tables.run_summary import RunSummary, summarize_run
from brats_ablate.tables.spec import Column, TableSpec
from brats_ablate.tables.text_tables import cost_sheet
from brats_ablate.tables.writers import csv_text

Write = Callable[..., RunDirectory]


def summary(run: RunDirectory) -> RunSummary:
    found = summarize_run(run)
    assert found is not None
    return found


def test_a_run_on_eight_devices_costs_eight_device_hours_an_hour(tmp_path: Path, write_run: Write) -> None:
    manifest = {"parameters": 31_190_000, "gflops": 965.5, "hardware": "A100", "world_size": 8}
    one = write_run(tmp_path, "ds", 0, [0.5] * 120, manifest=manifest)  # 120 epochs of 30 s, 10 s of them validation
    two = write_run(tmp_path, "ds", 1, [0.5] * 60, manifest=manifest, state="running", epochs=120)
    cost = cost_of([summary(one), summary(two)])
    assert (cost.parameters, cost.gflops, cost.device) == (31_190_000, 965.5, "A100")
    assert cost.seconds_per_step == pytest.approx(2.0)  # ten steps in 20 s
    assert (cost.hours_per_run, cost.hours, cost.device_hours) == pytest.approx((1.0, 1.5, 12.0))
    assert (cost.finished, cost.runs) == (1, 2)


def test_peak_memory_is_the_highest_of_any_epoch(tmp_path: Path, write_run: Write) -> None:
    run = write_run(tmp_path, "ds", 0, [0.5])
    run.append("metrics.jsonl", [{"epoch": 2, "peak_memory_bytes": 3 * 2**30}])
    run.append("metrics.jsonl", [{"epoch": 3, "peak_memory_bytes": 2**30}])  # after a resume the process is another
    assert cost_of([summary(run)]).peak_memory_gib == 3.0


def test_an_old_record_leaves_open_what_it_does_not_say(tmp_path: Path, write_run: Write) -> None:
    cost = cost_of([summary(write_run(tmp_path, "ds", 0, [0.5]))])
    assert (cost.gflops, cost.peak_memory_gib, cost.device) == (None, None, None)
    assert cost.device_hours == cost.hours


def table(runs: Path) -> TableResult:
    columns = (Column("U-Net", "baseline", None, None), Column("DS", "ds", None, None))
    study = TableSpec("t", "T", None, "baseline", columns)
    found = {name: [summary(RunDirectory(p)) for p in runs.glob(f"{name}/*/*/*")] for name in ("baseline", "ds")}
    (result,) = build([study], ResultsStore(found, runs, {}), folds=1, resamples=100, seed=0)
    return result


def test_costs_are_relative_to_the_baseline_and_two_columns_in_csv(tmp_path: Path, write_run: Write) -> None:
    write_run(tmp_path, "baseline", 0, [0.5] * 120, manifest={"parameters": 2_000_000, "gflops": 100.0})
    write_run(tmp_path, "ds", 0, [0.5] * 60, manifest={"parameters": 3_000_000, "gflops": 250.0, "world_size": 4})
    sheet = cost_sheet(table(tmp_path))
    base, ds = (dict(zip(sheet.header, row, strict=True)) for row in sheet.rows)
    assert (base["parameters"], base["GFLOPs"], base["device-hours"]) == ("2.00 M", "100.0", "1.00")
    assert (ds["parameters"], ds["GFLOPs"]) == ("3.00 M (1.50×)", "250.0 (2.50×)")
    assert (ds["h / run"], ds["device-hours"]) == ("0.50 (0.50×)", "2.00 (2.00×)")
    lines = [line.split(",") for line in csv_text(sheet).splitlines()]
    first, second = (dict(zip(lines[0], line, strict=True)) for line in lines[1:])
    assert (second["GFLOPs"], second["GFLOPs relative"], first["GFLOPs relative"]) == ("250.0", "2.50", "")


def test_device_hours_of_fewer_runs_are_not_set_in_relation(tmp_path: Path, write_run: Write) -> None:
    write_run(tmp_path, "baseline", 0, [0.5])
    write_run(tmp_path, "ds", 0, [0.5])
    write_run(tmp_path, "ds", 0, [0.5], seed=1)
    sheet = cost_sheet(table(tmp_path))
    assert "×" not in dict(zip(sheet.header, sheet.rows[1], strict=True))["device-hours"]


def test_without_a_count_there_is_a_dash(tmp_path: Path, write_run: Write) -> None:
    write_run(tmp_path, "baseline", 0, [0.5])
    write_run(tmp_path, "ds", 0, [0.5], manifest={"gflops": None})
    sheet = cost_sheet(table(tmp_path))
    assert [dict(zip(sheet.header, row, strict=True))["GFLOPs"] for row in sheet.rows] == ["–", "–"]
