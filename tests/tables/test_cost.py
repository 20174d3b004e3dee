"""Cost from records by hand, and old records with fewer keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from schemes import BRATS2021

from brats_ablate.runs.directory import RunDirectory
from brats_ablate.tables.build import ResultsStore, TableResult, build
from brats_ablate.tables.cost import cost_of
from brats_ablate.tables.run_tables import cost_table
from brats_ablate.tables.scores import RunSummary, summarize_run
from brats_ablate.tables.spec import Column, TableSpec
from brats_ablate.tables.table import Table

Write = Callable[..., RunDirectory]


def summary(run: RunDirectory) -> RunSummary:
    return summarize_run(run)


def test_a_run_on_eight_devices_costs_eight_device_hours_an_hour(tmp_path: Path, write_run: Write) -> None:
    manifest = {"parameters": 31_190_000, "gflops": 965.5, "world_size": 8}
    one = write_run(tmp_path, "ds", 0, [0.5] * 120, manifest=manifest)  # 120 epochs of 30 s, 10 s of them validation
    two = write_run(tmp_path, "ds", 1, [0.5] * 60, manifest=manifest, state="running", epochs=120)
    cost = cost_of([summary(one), summary(two)])
    assert (cost.parameters, cost.gflops) == (31_190_000, 965.5)
    assert cost.seconds_per_step == pytest.approx(2.0)  # ten steps in 20 s
    assert (cost.hours_per_run, cost.hours, cost.device_hours) == pytest.approx((1.0, 1.5, 12.0))
    assert (cost.finished, cost.runs) == (1, 2)


def test_peak_memory_is_the_highest_of_any_epoch(tmp_path: Path, write_run: Write) -> None:
    run = write_run(tmp_path, "ds", 0, [0.5])
    run.append("metrics.jsonl", [{"epoch": 2, "peak_memory_bytes": 3 * 2**30}])
    run.append("metrics.jsonl", [{"epoch": 3, "peak_memory_bytes": 2**30}])  # after a resume the process is another
    assert cost_of([summary(run)]).peak_memory_gib == 3.0


def test_values_that_an_old_record_lacks_are_none(tmp_path: Path, write_run: Write) -> None:
    cost = cost_of([summary(write_run(tmp_path, "ds", 0, [0.5]))])
    assert (cost.gflops, cost.peak_memory_gib) == (None, None)
    assert cost.device_hours == cost.hours


def table(runs: Path) -> TableResult:
    columns = (Column("U-Net", "baseline", None, None), Column("DS", "ds", None, None))
    spec = TableSpec("t", "T", None, "baseline", columns)
    runs_of = {name: [summary(RunDirectory(p)) for p in runs.glob(f"{name}/*/*/*")] for name in ("baseline", "ds")}
    (result,) = build([spec], ResultsStore(runs_of, runs, {}, BRATS2021), folds=1, resamples=100, seed=0)
    return result


def shown(costs: Table) -> list[dict[str, str]]:
    return [dict(zip(costs.header_texts, row, strict=True)) for row in costs.texts]


def test_costs_are_relative_to_the_baseline_and_numbers_in_the_frame(tmp_path: Path, write_run: Write) -> None:
    write_run(tmp_path, "baseline", 0, [0.5] * 120, manifest={"parameters": 2_000_000, "gflops": 100.0})
    write_run(tmp_path, "ds", 0, [0.5] * 60, manifest={"parameters": 3_000_000, "gflops": 250.0, "world_size": 4})
    costs = cost_table(table(tmp_path))
    base, ds = shown(costs)
    assert (base["parameters"], base["GFLOPs"], base["GPU-hours"]) == ("2.00 M", "100.0", "1.00")
    assert (ds["parameters"], ds["GFLOPs"]) == ("3.00 M (1.50×)", "250.0 (2.50×)")
    assert (ds["h per run"], ds["GPU-hours"]) == ("0.50 (0.50×)", "2.00 (2.00×)")
    frame = costs.frame()
    assert frame["parameters"].tolist() == [2_000_000, 3_000_000]
    assert frame["GFLOPs relative"].tolist() == [None, 2.5]


def test_gpu_hours_of_different_numbers_of_runs_have_no_ratio(tmp_path: Path, write_run: Write) -> None:
    write_run(tmp_path, "baseline", 0, [0.5])
    write_run(tmp_path, "ds", 0, [0.5])
    write_run(tmp_path, "ds", 0, [0.5], seed=1)
    assert "×" not in shown(cost_table(table(tmp_path)))[1]["GPU-hours"]


@pytest.mark.parametrize(
    ("second", "unit"), [("x86_64 CPU, 8 threads", "CPU-hours"), ("NVIDIA A100-SXM4-80GB", "GPU-hours")]
)
def test_hours_of_cpus_alone_are_called_so(second: str, unit: str, tmp_path: Path, write_run: Write) -> None:
    write_run(tmp_path, "baseline", 0, [0.5], manifest={"hardware": "x86_64 CPU, 2 threads"})
    write_run(tmp_path, "ds", 0, [0.5], manifest={"hardware": second})
    costs = cost_table(table(tmp_path))
    assert unit in costs.header_texts
    assert f"{unit}: of all runs" in costs.notes[0]


def test_without_a_count_there_is_a_dash(tmp_path: Path, write_run: Write) -> None:
    write_run(tmp_path, "baseline", 0, [0.5])
    write_run(tmp_path, "ds", 0, [0.5], manifest={"gflops": None})
    assert [row["GFLOPs"] for row in shown(cost_table(table(tmp_path)))] == ["–", "–"]
