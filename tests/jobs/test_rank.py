from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from schemes import BRATS2021, REGIONS

from brats_ablate.data.store import CaseStore
from brats_ablate.errors import ConfigError, DataError
from brats_ablate.jobs import evaluate
from brats_ablate.jobs.predict import write_case
from brats_ablate.tables.results import read_evaluation
from brats_ablate.tables.writers import write_csv

Job = Callable[..., None]
FEW = "job.resamples=1000"


def evaluation(work: Path, name: str, dice: dict[str, float], metrics: tuple[str, ...] = ("dice", "hd95")) -> Path:
    file = work / "phantom" / "evaluation" / f"{name}.csv"
    value = {"dice": lambda d: d, "hd95": lambda d: 100 * (1 - d)}
    rows = [
        {"case": case, "fold": 0, "region": region, "metric": m, "value": value[m](d)}
        for case, d in dice.items()
        for region in REGIONS
        for m in metrics
    ]
    write_csv(pd.DataFrame(rows), file)
    return file


def ranking(work: Path, file: str = "ranking.csv") -> list[dict[str, str]]:
    with (work / "phantom" / "evaluation" / file).open() as stream:
        return list(csv.DictReader(stream))


def test_evaluations_by_name_and_by_file(job: Job, work: Path) -> None:
    evaluation(work, "good", {f"c{i}": 0.9 for i in range(9)})
    file = evaluation(work, "middle", {f"c{i}": 0.8 for i in range(9)})
    evaluation(work, "poor", {f"c{i}": 0.7 for i in range(9)})
    job("job=rank", f"job.methods={{first:good,second:'{file}',third:poor}}", FEW)
    rows = ranking(work)
    assert [row["method"] for row in rows] == ["first", "second", "third"]
    assert [float(row["score"]) for row in rows] == pytest.approx([1 / 3, 2 / 3, 1], abs=1e-6)
    assert {row["cases"] for row in rows} == {"9"}
    pairs = ranking(work, "ranking_pairs.csv")
    assert [(row["better"], row["worse"]) for row in pairs] == [
        ("first", "second"),
        ("first", "third"),
        ("second", "third"),
    ]


@pytest.mark.slow
def test_a_folder_of_label_files_is_scored_first(job: Job, work: Path, tmp_path: Path) -> None:
    store = CaseStore(work / "phantom" / "prepared")
    for case_id in store.case_ids:
        depth = store.read_labels(case_id)
        for name, predicted in (("exact", depth), ("nothing", np.zeros_like(depth))):
            (tmp_path / name).mkdir(exist_ok=True)
            write_case(tmp_path / name / f"{case_id}.nii.gz", predicted, store.record(case_id), BRATS2021)
    job("job=rank", f"job.methods={{exact:'{tmp_path / 'exact'}',nothing:'{tmp_path / 'nothing'}'}}", FEW)
    assert [row["method"] for row in ranking(work)] == ["exact", "nothing"]


def test_a_folder_of_which_a_file_cannot_be_scored_is_not_ranked(
    job: Job, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation(work, "other", {"c0": 0.9, "c1": 0.8})
    scored = read_evaluation(evaluation(work, "scored", {"c0": 0.9, "c1": 0.8}))
    problems = {"c3": "no segmentation", "c2": "another grid"}
    monkeypatch.setattr(evaluate, "evaluate_folder", lambda *arguments: (scored, problems))
    with pytest.raises(DataError, match=r"2 cases cannot be scored \(c2: another grid\); fix them first"):
        job("job=rank", f"job.methods=[other,'{tmp_path}']", FEW)


def test_needs_the_same_cases_and_metrics_of_every_method(job: Job, work: Path) -> None:
    evaluation(work, "all", {"c0": 0.9, "c1": 0.8})
    evaluation(work, "one", {"c0": 0.9})
    evaluation(work, "dice_only", {"c0": 0.9, "c1": 0.8}, metrics=("dice",))
    with pytest.raises(DataError, match="one has no scores of c1, which all has"):
        job("job=rank", "job.methods=[one,all]")
    with pytest.raises(DataError, match="dice_only has no hd95"):
        job("job=rank", "job.methods=[all,dice_only]")
    with pytest.raises(ConfigError, match="nobody is no evaluation"):
        job("job=rank", "job.methods=[all,nobody]")
    with pytest.raises(ConfigError, match="at least two"):
        job("job=rank", "job.methods=[all]")
    with pytest.raises(ConfigError, match="choose from"):
        job("job=rank", "job.methods=[all,dice_only]", "job.metrics=[niceness]")
    with pytest.raises(ConfigError, match=r"job\.resamples=10 must be at least 1,000"):
        job("job=rank", "job.methods=[all,dice_only]", "job.resamples=10")


def test_values_of_different_definitions_are_not_ranked(job: Job, work: Path, capsys: pytest.CaptureFixture) -> None:
    for name in ("ours", "theirs", "outside"):
        evaluation(work, name, {f"c{i}": 0.9 for i in range(3)})
    for name, policy in (("ours", "HD95 as brats2023"), ("theirs", "HD95 as medpy")):
        (work / "phantom" / "evaluation" / f"{name}.json").write_text(json.dumps({"policy": policy}))
    with pytest.raises(ConfigError, match="ours and theirs were evaluated by different definitions of the metrics"):
        job("job=rank", "job.methods=[ours,theirs]", FEW)
    job("job=rank", "job.methods=[ours,theirs]", "job.metrics=[dice]", FEW)
    capsys.readouterr()
    job("job=rank", "job.methods=[ours,outside]", FEW)
    printed = capsys.readouterr().out
    assert "Metrics: HD95 as brats2023." in printed
    assert "Definitions of the metrics not recorded: outside." in printed


def test_the_direction_of_own_metrics_is_asked_for(job: Job, work: Path) -> None:
    for name, value in (("exact", 0.1), ("far", 9.0)):
        rows = [{"case": c, "region": r, "metric": "assd", "value": value} for c in "xyz" for r in REGIONS]
        write_csv(pd.DataFrame(rows), work / "phantom" / "evaluation" / f"{name}.csv")
    line = ("job=rank", "job.methods=[exact,far]", "job.metrics=[assd]", FEW)
    with pytest.raises(ConfigError, match=r"job\.better=\{assd:lower\} or higher"):
        job(*line)
    job(*line, "job.better={assd:lower}")
    assert [row["method"] for row in ranking(work)] == ["exact", "far"]
