"""Outside methods and test sets, from label files to the tables, by the jobs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from brats_ablate.data.folds import fold_of_case
from brats_ablate.errors import ConfigError

Job = Callable[..., None]
RAW_SEGMENTATION = "{case}/{case}_seg.nii.gz"


def write_predictions(work: Path, folder: Path, names: Sequence[tuple[str, str]], seed: int, values: dict[int, int]):
    """Write segmentations of raw cases, each (case, new name), with voxels set to background at random."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for case, name in names:
        image = nib.load(work / "phantom" / "raw" / RAW_SEGMENTATION.format(case=case))
        labels = np.asarray(image.dataobj).astype(np.uint8)
        labels[rng.random(labels.shape) < rng.uniform(0.05, 0.4)] = 0
        renumbered = np.array([values.get(v, v) for v in range(5)], np.uint8)[labels]
        nib.save(nib.Nifti1Image(renumbered, image.affine), folder / f"{name}.nii.gz")


def dice_of(work: Path, name: str) -> pd.Series:
    """Mean Dice of the regions of each case, from the rows."""
    rows = pd.read_csv(work / "phantom" / "evaluation" / f"{name}.csv")
    return rows[rows["metric"] == "dice"].groupby("case")["value"].mean()


@pytest.mark.slow
def test_an_outside_method_is_compared_on_common_cases(job: Job, work: Path, tmp_path: Path) -> None:
    folds = fold_of_case(work / "phantom" / "prepared")
    cases = [(case, case) for case in sorted(folds)]
    write_predictions(work, work / "phantom" / "predictions" / "ds", cases, 0, {})
    manifest = {
        "probabilities": {
            "members": [f"ds fold={k} lr=0.0007 seed=0 1.pt" for k in range(3)],
            "tta": {"_target_": "brats_ablate.inference.tta.FlipTTA"},
        }
    }
    (work / "phantom" / "predictions" / "ds" / "predictions.json").write_text(json.dumps(manifest))
    write_predictions(work, tmp_path / "theirs", cases[1:], 1, {1: 2, 2: 1, 4: 3})
    job("job=evaluate", "job.name=ds", "job.workers=1")
    (work / "phantom" / "predictions" / "ds" / "predictions.json").unlink()  # it is recorded
    job(
        "job=evaluate", "job.name=theirs", f"job.predictions={tmp_path / 'theirs'}", "job.prediction_labels=msd",
        "job.workers=1",
    )  # fmt: skip
    job("job=tables", "job.tables=[evaluated]", "job.baseline=ds", "job.resamples=1000")

    difference = (dice_of(work, "theirs") - dice_of(work, "ds")).dropna()
    assert len(difference) == len(cases) - 1
    of_fold = difference.groupby(folds.get)
    shown = pd.read_csv(work / "phantom" / "tables" / "evaluated_differences.csv", index_col=0).loc["theirs"]
    assert shown["patients"] == len(difference)
    assert shown["Δ mean Dice"] == pytest.approx(of_fold.mean().mean())
    pooled = of_fold.apply(lambda d: ((d - d.mean()) ** 2).sum()).sum() / (len(difference) - 3)
    half = stats.t.ppf(0.975, len(difference) - 3) * np.sqrt(pooled * (1 / of_fold.size()).sum() / 9)
    assert shown["95 % CI high"] - shown["95 % CI low"] == pytest.approx(2 * half)
    text = (work / "phantom" / "tables" / "evaluated.md").read_text()
    assert "as these trained networks, on common cases" in text
    assert (
        "theirs vs ds also differ in: 5 common cases; cases (6, 5); networks (3, unknown); test-time augmentation "
        "(FlipTTA, unknown); label values (brats2021, msd)." in text
    )
    with pytest.raises(
        ConfigError, match=r"job\.baseline=their is not a column of these tables; did you mean theirs\?"
    ):
        job("job=tables", "job.tables=[evaluated]", "job.baseline=their")


@pytest.mark.slow
def test_ten_cases_outside_the_folds_are_a_test_set(job: Job, work: Path, tmp_path: Path) -> None:
    folds = fold_of_case(work / "phantom" / "prepared")
    cases = sorted(folds)
    write_predictions(work, work / "phantom" / "predictions" / "ds", [(c, c) for c in cases], 0, {})
    job("job=evaluate", "job.name=ds", "job.workers=1")
    new = [(cases[i % len(cases)], f"Hospital_{i:02d}") for i in range(10)]
    for case, name in new:
        (tmp_path / "references").mkdir(exist_ok=True)
        segmentation = work / "phantom" / "raw" / RAW_SEGMENTATION.format(case=case)
        shutil.copy(segmentation, tmp_path / "references" / f"{name}.nii.gz")
    for seed, name in enumerate(("ds_hospital", "theirs_hospital")):
        write_predictions(work, tmp_path / name, new, seed, {})
        manifest = {"probabilities": {"members": ["ds fold=0 lr=0.0007 seed=0 1.pt"]}}
        if name == "ds_hospital":
            (tmp_path / name / "predictions.json").write_text(json.dumps(manifest))
        folders = (f"job.predictions={tmp_path / name}", f"job.references={tmp_path / 'references'}")
        job("job=evaluate", f"job.name={name}", *folders, "job.workers=1")
    job("job=tables", "job.tables=[evaluated]", "job.baseline=ds_hospital", "job.resamples=2000")

    tables = work / "phantom" / "tables"
    shown = pd.read_csv(tables / "evaluated_test_sets.csv", index_col=0)
    assert shown["n"].to_dict() == {"ds_hospital": 10, "theirs_hospital": 10}
    for name, row in shown.iterrows():
        dice = dice_of(work, str(name))
        assert row["mean Dice"] == pytest.approx(dice.mean())
        half = stats.t.ppf(0.975, 9) * dice.std() / np.sqrt(10)
        assert [row["95 % CI low"], row["95 % CI high"]] == pytest.approx([dice.mean() - half, dice.mean() + half])
        assert row["reason"] == "small sample"
    validated = dice_of(work, "ds").groupby(folds.get).mean().mean()
    assert shown.loc["ds_hospital", "cross-validated"] == pytest.approx(validated)
    assert pd.isna(shown.loc["theirs_hospital", "cross-validated"])
    compared = pd.read_csv(tables / "evaluated_differences.csv", index_col=0).loc["theirs_hospital"]
    reference = stats.ttest_rel(dice_of(work, "theirs_hospital"), dice_of(work, "ds_hospital"))
    assert compared["p"] == pytest.approx(reference.pvalue, rel=1e-6)
