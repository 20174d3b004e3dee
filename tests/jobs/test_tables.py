"""job=tables through the entry point: the files it writes, and its imports."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest
from scaffolding import CommandLine

import brats_ablate
from brats_ablate.jobs.tables import tracked_frames
from brats_ablate.runs.directory import Coordinates, RunDirectory, RunRecord
from brats_ablate.tables.table import Table, Words, headers

pytestmark = pytest.mark.slow
Command = Callable[..., subprocess.CompletedProcess[str]]


def _write_runs(work: Path, scores: dict[str, float], *, cases: int = 4) -> None:
    for name, dice in scores.items():
        for fold in range(5):
            run = RunDirectory.at(work / "brats21" / "runs", Coordinates(name, fold, 7e-4, 0))
            run.path.mkdir(parents=True)
            value = dice + 0.01 * fold
            run.append("metrics.jsonl", [{"epoch": 1, "step": 10, "dice": value, "seconds": 5.0}])
            of_case = [value + 0.001 * (-1) ** i * (name == "ds") for i in range(cases)]
            rows = [{"epoch": 1, "case": f"c{fold}{i}", "WT": d, "TC": d, "ET": d} for i, d in enumerate(of_case)]
            run.append("cases.jsonl", rows)
            run.write_manifest({"parameters": 31_190_000})
            run.write_status(RunRecord("finished", 1, 1, value))


@pytest.fixture(name="command")
def _command(tmp_path: Path) -> Command:
    shutil.copytree(Path(__file__).parents[1] / "fixtures" / "experiments", tmp_path / "experiments")

    def run(*overrides: str, program: Sequence[str] = ("-m", "brats_ablate")) -> subprocess.CompletedProcess[str]:
        environment = {"BRATS_ABLATE_WORK": str(tmp_path / "work"), "COLUMNS": "200"}
        return CommandLine(tmp_path, ["job=tables"], environment, program, subprocess.PIPE).run(*overrides)

    return run


def test_tables_are_written_and_shown(tmp_path: Path, command: Command) -> None:
    _write_runs(tmp_path / "work", {"baseline": 0.8, "ds": 0.85})
    done = command("job.resamples=1000", "job.intervals=true")
    assert done.returncode == 0, done.stderr
    assert "Table 2. Tweaks of the U-Net" in done.stdout
    assert "0.8700" in done.stdout
    out = tmp_path / "work" / "brats21" / "tables"
    for name in ("table1", "table2", "table3", "trained", "demo"):
        for stem in (name, f"{name}_paper"):
            assert {file.suffix for file in out.glob(f"{stem}.*")} == {".md", ".csv", ".tex"}
    means = pd.read_csv(out / "demo.csv", index_col=0).loc["Mean"]
    assert means[["U-Net", "DS"]].tolist() == pytest.approx([0.82, 0.87])
    (compared,) = json.loads((out / "comparisons.json").read_text())["demo"]
    assert (compared["column"], compared["verdict"]) == ("DS", "better")
    assert compared["difference"] == pytest.approx(0.05)
    low, high = (f"+{compared['interval'][end]:.4f}" for end in ("low", "high"))
    assert f"[{low}, {high}]" in (out / "demo.tex").read_text()
    rows = pd.read_csv(out / "cases.csv")
    assert len(rows) == 2 * 5 * 4 * 3
    assert rows["value"].tolist() == brats_ablate.results(out.parent)["value"].tolist()


def test_a_ranking_has_no_further_rows_of_columns(tmp_path: Path, command: Command) -> None:
    _write_runs(tmp_path / "work", {"baseline": 0.8, "ds": 0.85})
    evaluation = tmp_path / "work" / "brats21" / "evaluation"
    evaluation.mkdir()
    (evaluation / "ranking.csv").write_text("method,score\nours,0.5\n")
    columns = "columns: [{title: U-Net, experiment: baseline}, {title: DS, experiment: ds}]"
    (tmp_path / "experiments" / "both.yaml").write_text(f"title: B\nranking: [0.25]\nbaseline: baseline\n{columns}\n")
    done = command("job.resamples=1000", "job.intervals=true", "job.tables=[both,table5]")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "work" / "brats21" / "tables"
    for name in ("both", "table5"):
        assert "ours & 0.500" in (out / f"{name}.tex").read_text()
        assert "Steps per epoch" not in (out / f"{name}.tex").read_text()
    assert (out / "comparisons.json").is_file()


def _write_trained_by(work: Path, name: str, fold: int, ranks: int, precision: str) -> None:
    """Write a run as training does whose 1,000 cases `ranks` processes shared, two a step each."""
    run = RunDirectory.at(work / "brats21" / "runs", Coordinates(name, fold, 7e-4, 0))
    run.path.mkdir(parents=True)
    steps = 1000 // (2 * ranks)
    run.append("metrics.jsonl", [{"epoch": e, "step": steps * e, "dice": 0.5, "grad_norm": math.inf} for e in (1, 2)])
    flat = {"trainer.batch_size": 2, "trainer.epochs": 2} | ({"trainer.ranks": ranks} if ranks > 1 else {})
    manifest = {"identity": flat, "world_size": ranks, "precision": precision, "hardware": "NVIDIA A100"}
    run.write_manifest(manifest)
    run.write_status(RunRecord("finished", 2, 2, 0.5))


def test_runs_of_other_ranks_or_precision_are_flagged_in_every_format(tmp_path: Path, command: Command) -> None:
    for fold in range(5):
        _write_trained_by(tmp_path / "work", "baseline", fold, ranks=1, precision="bf16")
        _write_trained_by(tmp_path / "work", "ds", fold, ranks=2, precision="fp16" if fold == 3 else "bf16")
    assert command("job.tables=[demo]").returncode == 0
    report = command("job=report", "job.tables=[demo]")
    assert report.returncode == 0, report.stderr
    out = tmp_path / "work" / "brats21"
    documents = [command("job.tables=[demo]").stdout, (out / "tables" / "demo.md").read_text()]
    documents += [(out / "tables" / "demo.tex").read_text(), next(out.rglob("report.html")).read_text()]
    for text in documents:
        words = " ".join(text.split())
        assert "! Global batch differs: U-Net 2, DS 4; these runs were not trained alike." in words
        assert "! Precision differs: U-Net bf16, DS bf16 / fp16; these runs were not trained alike." in words
        assert "! DS, precision: bf16 in folds 0, 1, 2, 4; fp16 in fold 3." in words
        for part in ("pochs", "teps per epoch", "500", "250", "lobal batch", "bf16 / fp16", "NVIDIA A100"):
            assert part in words, part
        assert "Epochs differ" not in words
    training = pd.read_csv(out / "tables" / "demo_training.csv", index_col=0)
    assert training["steps per epoch"].tolist() == [500, 250]
    assert training["global batch"].tolist() == [2, 4]
    assert training["precision"].tolist() == ["bf16", "bf16 / fp16"]


def test_without_runs_it_prints_one_sentence(command: Command) -> None:
    done = command()
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith("no run of any table under ")
    assert len(done.stdout.splitlines()) == 1


def test_an_unknown_table_is_a_configuration_error(command: Command) -> None:
    done = command("job.tables=[tabel1]")
    assert done.returncode == 2
    assert done.stderr == "brats-ablate: job.tables: there is no table tabel1; did you mean table1?\n"


def test_a_negative_region_of_equivalence_is_a_configuration_error(command: Command) -> None:
    done = command("job.rope=-0.001")
    assert (done.returncode, done.stderr) == (
        2, "brats-ablate: job.rope=-0.001 must be a difference of mean Dice, 0 or more, e.g. 0.001\n",
    )  # fmt: skip


def test_a_table_is_added_by_adding_a_file(tmp_path: Path, command: Command) -> None:
    _write_runs(tmp_path / "work", {"mine": 0.9})
    (tmp_path / "experiments" / "my_table.yaml").write_text("title: Mine\ncolumns: [{title: M, experiment: mine}]\n")
    assert command("job.tables=[my_table]").returncode == 0
    assert "0.9200" in (tmp_path / "work" / "brats21" / "tables" / "my_table.md").read_text()


IMPORTS = (
    "import sys, runpy, atexit\n"
    "atexit.register(lambda: print('LOADED', sorted({'torch', 'monai', 'pandas', 'wandb'} & set(sys.modules))))\n"
    "runpy.run_module('brats_ablate', run_name='__main__')\n"
)


def test_tables_need_no_deep_learning_import(tmp_path: Path, command: Command) -> None:
    _write_runs(tmp_path / "work", {"baseline": 0.8, "ds": 0.85})
    printed = command("job.resamples=1000", program=("-c", IMPORTS)).stdout
    assert "Table 2" in printed
    assert printed.rstrip().endswith("LOADED ['pandas']")


def test_other_commands_do_not_import_pandas(tmp_path: Path, command: Command) -> None:
    _write_runs(tmp_path / "work", {"baseline": 0.8})
    printed = command("job=status", program=("-c", IMPORTS)).stdout
    assert "5 runs" in printed
    assert printed.rstrip().endswith("LOADED []")


def test_a_tracker_gets_the_scores_and_the_differences() -> None:
    parts = [Table(name, name, headers(""), ((Words(name),),)) for name in ("t", "t_differences", "t_cost")]
    frames = tracked_frames(parts)
    assert {name: frame[""].tolist() for name, frame in frames.items()} == {
        "t": ["t"],
        "t_differences": ["t_differences"],
    }


def test_a_fine_tuning_sweep_has_its_table_without_the_initial_weights(tmp_path: Path, command: Command) -> None:
    _write_runs(tmp_path / "work", {"baseline": 0.8, "ds": 0.85})
    sweep = ("+experiment=baseline,ds", "init.checkpoint=gone.pt", "job.resamples=1000", "-m")
    done = command(*sweep)
    assert done.returncode == 0, done.stderr
    assert "0.8700" in done.stdout
    runs = RunDirectory.at(tmp_path / "work" / "brats21" / "runs", Coordinates("ds", 0, 7e-4, 0))
    runs.write_manifest({"identity": {"init.checksum": "abc", "loss.beta": 1}})
    done = command(*sweep)
    assert "trained with other settings than this command has: ds fold=0" in done.stderr
    assert "init." not in done.stderr


def test_a_sweep_over_data_sets_has_a_table_a_grid_and_a_plan_of_each(tmp_path: Path, command: Command) -> None:
    _write_runs(tmp_path / "work", {"baseline": 0.8, "ds": 0.85})
    shutil.copytree(tmp_path / "work" / "brats21", tmp_path / "work" / "phantom")
    shutil.rmtree(tmp_path / "work" / "phantom" / "runs" / "ds" / "fold=0")
    sweep = ("+experiment=baseline,ds", "fold=0,1,2,3,4", "data=brats21,phantom", "-m")
    done = command(*sweep, "job.resamples=1000")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("Results of")] == [
        "Results of brats21", "Results of phantom",
    ]  # fmt: skip
    assert (tmp_path / "work" / "phantom" / "tables" / "demo.csv").exists()
    status = command(*sweep, "job=status").stdout.split("\n\n")
    assert [part.splitlines()[0] for part in (status[0], status[2])] == ["brats21", "phantom"]
    assert "9 finished, 1 not started" in status[3]
    plan = command(*sweep, "job=plan", "job.dry_run=false").stdout
    rows = [re.split(" {2,}", line.strip())[:3] for line in plan.splitlines()[1:5]]
    assert rows == [
        [f"{name} ({data})", "5", "4" if (name, data) == ("ds", "phantom") else "5"]
        for name in ("baseline", "ds") for data in ("brats21", "phantom")
    ]  # fmt: skip
