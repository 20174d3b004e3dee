"""Fine-tuning and learning curves through the command line."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from scaffolding import run_at

from brats_ablate.runs.weights_source import RECORD
from brats_ablate.runtime.files import read_json

Command = Callable[..., subprocess.CompletedProcess[str]]

RUNS = "{work}/phantom/runs/source/fold={fold}/lr=0.01/seed=0"


@pytest.mark.slow(minutes=1)
def test_a_tuned_run_starts_where_its_source_ended(brats_ablate: Command, work: Path) -> None:
    assert brats_ablate("name=source", "fold=0,1", "-m").returncode == 0
    runs, folds = work / "phantom" / "runs", (0, 1)
    of_same_fold = f"init.checkpoint={RUNS.format(work=work, fold='${fold}')}"
    tuned = ("name=tuned", "fold=0,1", "trainer.validate_untrained=true", of_same_fold, "-m")

    leaking = brats_ablate("name=leak", "fold=0,1", f"init.checkpoint={RUNS.format(work=work, fold=0)}", "-m")
    assert leaking.returncode == 2
    assert "were trained on validation cases of this run (theirs: fold=0; here: fold=1)" in leaking.stdout
    assert not (runs / "leak").exists()

    done = brats_ablate(*tuned)
    assert done.returncode == 0, done.stdout
    sources = [run_at(runs, "source", fold, lr=0.01) for fold in folds]
    results = [run_at(runs, "tuned", fold, lr=0.01) for fold in folds]
    for source, result in zip(sources, results, strict=True):
        best = max(source.metrics(), key=lambda row: row["dice"])
        first = result.metrics()[0]
        regions = ("dice", "dice/WT", "dice/TC", "dice/ET")
        assert (first["epoch"], *(first[r] for r in regions)) == (0, *(best[r] for r in regions))  # the same network
        record = read_json(result.path / RECORD)
        assert record["checkpoint"] == str(source.best_checkpoints()[0])
        assert (record["missing"], record["unused"], record["other_shape"]) == ([], [], {})
        assert f"initial weights of {record['checkpoint']}: {len(record['loaded'])} of" in done.stdout
    assert {len((r.identity() or {})["init.checksum"]) for r in results} == {16}

    shutil.rmtree(runs / "source")
    again = brats_ablate(*tuned)  # a finished run needs its source no more
    assert again.returncode == 0, again.stdout
    assert "2 already finished" in again.stdout
    lost = brats_ablate(*tuned, "seed=1")
    assert lost.returncode == 2
    assert "source/fold=0/lr=0.01/seed=0 does not exist; name a run directory or a checkpoint file" in lost.stdout


@pytest.mark.slow(minutes=1)
def test_a_learning_curve_is_trained_and_tabulated(brats_ablate: Command, work: Path) -> None:
    done = brats_ablate("data.fraction=.25,.5,1", "fold=0,1", "trainer.epochs=1", "-m")
    assert done.returncode == 0, done.stdout
    start = done.stdout.partition("data.fraction-0.5 fold=1 lr=0.01 seed=0: ")[2]
    assert "  phantom: 2 (data.fraction=0.5) training and 2 validation cases" in start.splitlines()[1]
    tables = brats_ablate("job=tables", "job.tables=[trained]")
    assert tables.returncode == 0, tables.stdout
    rows = (work / "phantom/tables/trained_training_size.csv").read_text().splitlines()
    assert [row.split(",")[1:4] for row in rows[1:]] == [["0.25", "1.0", "2"], ["0.5", "2.0", "2"], ["1.0", "4.0", "2"]]
