"""Tables of runs with other regions than WT, TC and ET."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from schemes import BRATS2021, GLI2024, MEN_RT
from table_results import result_of

from brats_ablate.errors import DataError
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.report.figures import figure_data
from brats_ablate.tables.spec import load_table_spec
from brats_ablate.tables.tabulate import metric_policy, scores_table, tabulate

Write = Callable[..., Any]
DEMO = load_table_spec(Path(__file__).parents[1] / "fixtures" / "experiments" / "demo.yaml")


@pytest.mark.parametrize(("labels", "sized"), [(GLI2024, "ET"), (MEN_RT, "GTV")])
def test_tables_have_the_regions_of_the_labels(
    tmp_path: Path, write_experiment: Write, labels: LabelScheme, sized: str
) -> None:
    regions = list(labels.regions)
    sizes = {f"case-{fold}-{i:03d}": 100 * i for fold in range(5) for i in range(20)}
    for name, shift in (("baseline", 0.0), ("ds", 0.02)):
        write_experiment(tmp_path, name, [0.7, 0.71, 0.72, 0.73, 0.74], shift=shift, regions=regions, et_voxels=sizes)
    result = result_of(tmp_path, DEMO, labels=labels)
    (comparison,) = result.comparisons
    assert comparison.difference == pytest.approx(0.02)
    (subgroups,) = (table for table in tabulate(result) if table.title.startswith("Subgroup"))
    assert subgroups.title == f"Subgroup analysis (by {sized} volume)"
    assert list(subgroups.header_texts[3:-2]) == [f"Dice {region}" for region in regions]
    frame = subgroups.frame()
    assert set(frame["subgroup"]) == {f"no {sized}", f"{sized} < 500 voxels", f"{sized} ≥ 500 voxels"}
    assert frame["n"].tolist() == [5, 5, 20, 20, 75, 75]
    # The values of the cases themselves: one per fold has no voxel of the region, the first that is drawn.
    drawn = [
        np.clip(np.random.default_rng(k).normal(0.7 + 0.01 * k, 0.03, (20, len(regions))), 0, 1)[0] for k in range(5)
    ]
    shown = frame[[f"Dice {region}" for region in regions]].to_numpy(float)
    np.testing.assert_allclose(shown[0], np.mean(drawn, axis=0))
    np.testing.assert_allclose(shown[1] - shown[0], 0.02)
    assert metric_policy(labels) in scores_table(result).notes
    assert figure_data([result], [result], {})["regions"] == regions


def test_a_mean_is_that_of_the_averaged_regions(tmp_path: Path, write_run: Write) -> None:
    labels = replace(GLI2024, averaged=("WT", "RC"))
    for fold in range(5):
        for name, rc in (("baseline", 0.5), ("ds", 0.7)):
            cases = {f"c{fold}{i}": (0.8, 0.1 if name == "ds" else 0.9, 0.3, rc) for i in "abcd"}
            write_run(tmp_path, name, fold, [0.6], cases=cases, regions=labels.region_names)
    result = result_of(tmp_path, DEMO, labels=labels)
    assert result.comparisons[0].difference == pytest.approx(0.1)  # (0 + .2) / 2; TC does not count
    drawn = figure_data([result], [result], {})
    assert (drawn["regions"], drawn["averaged"], drawn["sized_region"]) == (["WT", "TC", "ET", "RC"], [0, 3], "ET")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (BRATS2021, "Mean Dice of WT, TC and ET over a fold's"),
        (GLI2024, "Mean Dice of WT, TC, ET and RC over a fold's"),
        (MEN_RT, "Mean Dice of GTV over a fold's"),
        (replace(GLI2024, averaged=("WT", "RC")), "Mean Dice of WT and RC over a fold's"),
    ],
)
def test_the_note_says_whose_mean_a_score_is(labels: LabelScheme, words: str) -> None:
    assert metric_policy(labels).startswith(words)


def test_runs_of_other_labels_are_refused_in_one_sentence(tmp_path: Path, write_experiment: Write) -> None:
    write_experiment(tmp_path, "ds", [0.7] * 5, regions=list(GLI2024.regions))
    with pytest.raises(
        DataError,
        match=r"^a run of ds was scored on WT, TC, ET, RC, not on WT, TC, ET; choose the labels option .*with$",
    ):
        result_of(tmp_path, DEMO, labels=BRATS2021)
