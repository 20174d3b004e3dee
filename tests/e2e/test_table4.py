"""The commands in the comments of experiments/table4*.yaml, run as written on a small phantom cohort."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from scaffolding import CommandLine

import brats_ablate
from brats_ablate.config.locations import resource_dir
from brats_ablate.inference.prediction_store import PredictionFolder
from brats_ablate.tables.results import read_evaluation

pytestmark = pytest.mark.slow(minutes=1)
NAME = "ds_deeper_channels_onehot"
TABLES = ("table4", "table4_ensemble")


def commands(table: str) -> str:
    """The shell commands in the comments of a table's file."""
    lines = (Path(resource_dir("experiments")) / f"{table}.yaml").read_text().splitlines()
    return "\n".join(line.removeprefix("#   ") for line in lines if line.startswith("#   "))


def test_both_tables_come_out_of_the_commands_in_their_files(work: Path, small: tuple[str, ...]) -> None:
    environment = {"BRATS_ABLATE_WORK": str(work)}
    trained = CommandLine(work, small, environment).run(f"+experiment={NAME}", "fold=0,1,2", "-m")
    assert trained.returncode == 0, trained.stdout
    program = f'python() {{ {shlex.quote(sys.executable)} "$@" {shlex.join(small)}; }}'
    package = str(Path(brats_ablate.__file__).parents[1])
    for table in TABLES:
        assert commands(table).count("python -m brats_ablate") == 4
        done = subprocess.run(
            ["bash", "-ec", f"{program}\n{commands(table)}"],
            cwd=work,
            env=os.environ | environment | {"PYTHONPATH": package, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    out = work / "phantom"
    for table, columns in zip(
        TABLES, ((f"{NAME}_best", f"{NAME}_best_postprocessed"), (NAME, f"{NAME}_postprocessed")), strict=True
    ):
        shown = pd.read_csv(out / "tables" / f"{table}.csv", index_col=0)
        assert "without paper" not in shown  # phantoms are not the paper's cases
        for title, name in zip(("without", "with"), columns, strict=True):
            rows = read_evaluation(out / "evaluation" / f"{name}.csv")
            by_fold = rows[rows["metric"] == "dice"].groupby("fold")["value"].mean()
            assert [shown.loc[f"Fold {k}", title] for k in range(3)] == pytest.approx([by_fold[k] for k in range(3)])

    members = {n: PredictionFolder(out / "predictions" / n).manifest()["probabilities"] for n in (NAME, f"{NAME}_best")}
    assert [len(members[name]["members"]) for name in members] == [6, 3]
    recorded = brats_ablate.results(out).query("metric == 'dice' and region == 'WT'").set_index("case")["value"]
    evaluated = read_evaluation(out / "evaluation" / f"{NAME}_best.csv").query("metric == 'dice' and region == 'WT'")
    assert evaluated.set_index("case")["value"].to_dict() == pytest.approx(recorded.to_dict(), abs=5e-3)
