"""Data sets of today's challenges, as phantoms: each needs only YAML, from preparing to tables, report and label files."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from documents import in_one_process
from scaffolding import CommandLine

pytestmark = pytest.mark.slow(minutes=4)

CHALLENGES = {
    # option: layout, labels, id of a case, values in the files, regions
    "gli": ("brats2023", "brats2024_gli", "BraTS-GLI-%05d-100", {0, 1, 2, 3, 4}, ["WT", "TC", "ET", "RC"]),
    "ped": ("brats2023", "brats_ped", "BraTS-PED-%05d-000", {0, 1, 2, 3, 4}, ["WT", "TC", "ET", "CC"]),
    "men_rt": ("brats_men_rt", "brats_men_rt", "BraTS-MEN-RT-%04d-1", {0, 1}, ["GTV"]),
    "met": ("brats2023", "brats_met", "BraTS-MET-%05d-000", {0, 1, 2, 3}, ["WT", "TC", "ET"]),
}
SMALL = (
    *("trainer=demo", "schedule=demo", "trainer.epochs=1", "trainer.progress=none", "patches.shape=[16,16,16]"),
    *("encoder.channels=[8,8,16,16]", "encoder.width=1", "inference=sliding_window_without_tta"),
)


@pytest.mark.parametrize("name", CHALLENGES)
def test_a_challenge_runs_from_prepare_to_tables_and_label_files(tmp_path: Path, name: str) -> None:
    layout, labels, case_id, values, regions = CHALLENGES[name]
    option = {
        "defaults": ["base", {"layout": layout}, "_self_", {"override /labels@_global_.labels": labels}],
        "name": name,
        "raw": "${paths.work}/raw",
        "n_folds": 2,
        "phantom": {
            "_target_": "brats_ablate.data.phantom.PhantomCohort",
            "cases": 4,
            "shape": [40, 40, 32],
            "seed": 0,
            "case_id": case_id,
        },
    }
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / f"{name}.yaml").write_text(yaml.safe_dump(option))
    command = CommandLine(tmp_path, (f"data={name}", *SMALL))

    def succeed(*arguments: str) -> str:
        done = command.run(*in_one_process(arguments))
        assert done.returncode == 0, done.stdout
        return done.stdout

    assert f"labels ({labels})" in succeed("job=prepare")
    folder = tmp_path / "work" / name
    written = {
        int(v) for file in (folder / "raw").rglob("*.nii.gz") if _is_label(file) for v in np.unique(_voxels(file))
    }
    assert written == values
    succeed("+experiment=baseline,ds", "fold=0,1", "-m")
    succeed("+experiment=ds", "job=predict", "job.probabilities=true")
    succeed("+experiment=ds", "job=evaluate")
    succeed("+experiment=ds", "job=tune")
    succeed("job=tables", "job.tables=[table2]")
    assert "report.html" in succeed("job=report")

    lines = [json.loads(line) for file in folder.rglob("cases.jsonl") for line in file.read_text().splitlines()]
    rows = [line for line in lines if "epoch" in line]
    assert {tuple(k for k in row if k in regions) for row in rows} == {tuple(regions)}
    for row in map(json.loads, next(folder.rglob("metrics.jsonl")).read_text().splitlines()):
        if row.get("dice") is not None:
            assert row["dice"] == pytest.approx(np.mean([row[f"dice/{region}"] for region in regions]))
    strata = pd.read_csv(folder / "tables" / "table2_strata.csv")
    assert {f"Dice {region}" for region in regions} <= set(strata.iloc[:, 0]) | set(strata.columns)
    predicted = list((folder / "predictions" / "ds").glob("*.nii.gz"))
    assert len(predicted) == 4
    for file in predicted:
        raw = next((folder / "raw").rglob(f"{file.name.removesuffix('.nii.gz')}*t1c.nii.gz"))
        assert set(np.unique(_voxels(file)).tolist()) <= values
        assert _voxels(file).shape == _voxels(raw).shape
        np.testing.assert_array_equal(nib.load(file).affine, nib.load(raw).affine)
    evaluated = pd.read_csv(folder / "evaluation" / "ds.csv")
    assert evaluated["case"].nunique() == 4
    assert list(dict.fromkeys(evaluated["region"])) == regions


def _is_label(file: Path) -> bool:
    return file.name.endswith(("seg.nii.gz", "gtv.nii.gz"))


def _voxels(file: Path) -> np.ndarray:
    return np.asarray(nib.load(file).dataobj)
