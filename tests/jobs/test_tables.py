"""job=tables through the entry point: what is written, and that it needs no deep-learning import."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import brats_ablate
from brats_ablate.runs.directory import Coordinates, RunDirectory, RunRecord

Command = Callable[..., subprocess.CompletedProcess[str]]


def _write_runs(work: Path, scores: dict[str, float], *, cases: int = 4) -> None:
    for name, dice in scores.items():
        for fold in range(5):
            run = RunDirectory.at(work / "brats21" / "runs", Coordinates(name, fold, 7e-4, 0))
            run.path.mkdir(parents=True)
            value = dice + 0.01 * fold
            run.append("metrics.jsonl", [{"epoch": 1, "step": 10, "dice": value, "seconds": 5.0}])
            rows = [{"epoch": 1, "case": f"c{fold}{i}", "WT": value, "TC": value, "ET": value} for i in range(cases)]
            run.append("cases.jsonl", rows)
            run.write_manifest({"parameters": 31_190_000})
            run.write_status(RunRecord("finished", 1, 1, value))


@pytest.fixture(name="command")
def _command(tmp_path: Path) -> Command:
    def run(*overrides: str, program: Sequence[str] = ("-m", "brats_ablate")) -> subprocess.CompletedProcess[str]:
        package = str(Path(brats_ablate.__file__).parents[1])
        environment = os.environ | {
            "BRATS_ABLATE_WORK": str(tmp_path / "work"),
            "COLUMNS": "200",
            "PYTHONPATH": package,
        }
        words = [sys.executable, *program, "job=tables", *overrides]
        return subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


def test_tables_are_written_and_shown(tmp_path: Path, command: Command) -> None:
    _write_runs(tmp_path / "work", {"baseline": 0.8, "ds": 0.85})
    found = command("job.resamples=200", "job.intervals=true")
    assert found.returncode == 0, found.stderr
    assert "Table 2. Tweaks of the U-Net" in found.stdout
    assert "0.8700" in found.stdout
    out = tmp_path / "work" / "brats21" / "tables"
    for name in ("table1", "table2", "table3", "trained", "demo"):
        assert {file.suffix for file in out.glob(f"{name}.*")} == {".md", ".csv", ".tex"}
    with (out / "demo.csv").open(newline="") as stream:
        rows = {row[""]: row for row in csv.DictReader(stream)}
    assert [rows["Mean"][title] for title in ("U-Net", "DS")] == ["0.8200", "0.8700"]
    assert "[+0.0500, +0.0500]" in (out / "demo.tex").read_text()
    with (out / "cases.csv").open(newline="") as stream:
        long = list(csv.DictReader(stream))
    assert len(long) == 2 * 5 * 4 * 3
    assert {row["region"] for row in long} == {"WT", "TC", "ET"}


def test_without_runs_it_says_so_in_one_sentence(command: Command) -> None:
    found = command()
    assert found.returncode == 0
    assert found.stderr == ""
    assert found.stdout.startswith("no run of any table under ")
    assert len(found.stdout.splitlines()) == 1


def test_an_unknown_table_is_a_configuration_error(command: Command) -> None:
    found = command("job.tables=[tabel1]")
    assert found.returncode == 2
    assert found.stderr == "brats-ablate: job.tables: there is no table tabel1; did you mean table1?\n"


def test_a_table_is_added_by_adding_a_file(tmp_path: Path, command: Command) -> None:
    _write_runs(tmp_path / "work", {"mine": 0.9})
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "my_table.yaml").write_text("title: Mine\ncolumns: [{title: M, experiment: mine}]\n")
    assert command("job.tables=[my_table]").returncode == 0
    assert "0.9200" in (tmp_path / "work" / "brats21" / "tables" / "my_table.md").read_text()


def test_no_deep_learning_import(tmp_path: Path, command: Command) -> None:
    _write_runs(tmp_path / "work", {"baseline": 0.8, "ds": 0.85})
    script = (
        "import sys, runpy, atexit\n"
        "atexit.register(lambda: print('LOADED', sorted({'torch', 'monai', 'pandas', 'wandb'} & set(sys.modules))))\n"
        "runpy.run_module('brats_ablate', run_name='__main__')\n"
    )
    found = command("job.resamples=100", program=("-c", script))
    assert "Table 2" in found.stdout
    assert found.stdout.rstrip().endswith("LOADED []")
