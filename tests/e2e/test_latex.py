"""The LaTeX that job=tables writes, compiled by pdflatex."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scaffolding import CommandLine

from brats_ablate.runs.directory import Coordinates, RunDirectory, RunRecord

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex; install texlive-latex-recommended"),
]
REGIONS = ("WT", "TC", "ET")
MOST_POINTS = 3.0
"""Tolerated width beyond the line."""
DOCUMENT = r"""\documentclass%s{article}
\usepackage{booktabs,graphicx}
\begin{document}
%s
\end{document}
"""


def write_experiment(work: Path, name: str, shift: float) -> None:
    """Write five finished folds of 20 cases."""
    for fold in range(5):
        run = RunDirectory.at(work / "runs", Coordinates(name, fold, 7e-4, 0))
        run.path.mkdir(parents=True)
        values = np.clip(np.random.default_rng(fold).beta(9, 1, (20, 3)) + shift, 0, 1)
        run.append("metrics.jsonl", [{"epoch": 1, "step": 10, "dice": float(values.mean()), "seconds": 5.0}])
        rows = [
            {"epoch": 1, "case": f"c{fold}{i:02d}", **dict(zip(REGIONS, map(float, v), strict=True))}
            for i, v in enumerate(values)
        ]
        run.append("cases.jsonl", rows)
        run.write_manifest({"parameters": 31_190_000})
        run.write_status(RunRecord("finished", 1, 1, float(values.mean())))


def write_evaluation(
    work: Path, name: str, shift: float, *, cases: int = 20, policy: str = "HD95 as brats2023"
) -> None:
    """Write what job=evaluate writes of five folds and two cases of no fold."""
    (work / "evaluation").mkdir(exist_ok=True)
    with (work / "evaluation" / f"{name}.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["case", "fold", "region", "metric", "value"])
        for fold in (*range(5), ""):
            rng = np.random.default_rng(fold or 0)
            for i in range(2 if fold == "" else cases):
                for region in REGIONS:
                    case = f"c{fold}{i:02d}"
                    rows.writerow([case, fold, region, "dice", min(rng.beta(9, 1) + shift * rng.random(), 1)])
                    rows.writerow(
                        [
                            case,
                            fold,
                            region,
                            "hd95",
                            "inf" if name == "few" and i == 0 else 373.13 if rng.random() < 0.03 else rng.gamma(1, 5),
                        ]
                    )
    (work / "evaluation" / f"{name}.json").write_text(json.dumps({"policy": policy, "labels": "brats2021"}))


def write_study(root: Path) -> Path:
    """Write experiments, evaluations and a table of names that LaTeX would read as commands."""
    work = root / "work" / "brats21"
    (work / "prepared").mkdir(parents=True)
    folds = [[f"c{fold}{i:02d}" for i in range(20)] for fold in range(5)]
    (work / "prepared" / "folds.json").write_text(json.dumps({"validation": folds}))
    names = ("baseline", "attention", "ds", "residual", "dropblock", "focal", "ds_deeper", "ds_channels", "ds_onehot")
    for i, name in enumerate((*names, "ds_deeper_channels_onehot")):
        write_experiment(work, name, 0.01 * (i % 3))
    write_evaluation(work, "ds", 0.02)
    for name, shift in (("ds_tuned", 0.03), ("theirs_50%&more_~^#$", 0.0), ("few", 0.01)):
        write_evaluation(work, name, shift, cases=7 if name == "few" else 20, policy=f"rules of {name} | <5 mm³ ≥ 3")
    (root / "experiments").mkdir()
    (root / "experiments" / "special.yaml").write_text(
        "title: 50 % of {names} & $pecial ~#^ \\things_\nbaseline: ds\ncolumns:\n"
        "  - {title: 'DS_{1} & 100 %', evaluation: ds}\n"
        "  - {title: 'nn#U~Net^2 \\alpha <$5', evaluation: 'theirs_50%&more_~^#$'}\n"
        "  - {title: 'few, α ≤ β → λ', evaluation: few}\n"
    )
    return work


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The tables of a study in LaTeX."""
    root = tmp_path_factory.mktemp("study")
    work = write_study(root)
    command = CommandLine(root, environment={"BRATS_ABLATE_WORK": str(root / "work")})
    done = command.run("job=tables", "job.resamples=1000", "job.intervals=true", "job.paper=true")
    assert done.returncode == 0, done.stdout
    return sorted((work / "tables").glob("*.tex"))


@pytest.mark.parametrize("option", ["", "[twocolumn]"])
def test_every_table_fits_the_page(files: list[Path], tmp_path: Path, option: str) -> None:
    assert {"table1", "table2", "table2_paper", "special_paper", "trained_paper"} <= {file.stem for file in files}
    for file in files:
        (tmp_path / "one.tex").write_text(DOCUMENT % (option, file.read_text()))
        done = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "one.tex"],
            cwd=tmp_path, capture_output=True, encoding="latin-1", check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{file.name}: {done.stdout[-2000:]}"
        wide = [float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide", done.stdout)]
        assert max(wide, default=0) <= MOST_POINTS, f"{file.name}: {wide}"
        for complaint in ("Missing character", "Float too large", "LaTeX Warning: Reference"):
            assert complaint not in done.stdout, f"{file.name}: {complaint}"
