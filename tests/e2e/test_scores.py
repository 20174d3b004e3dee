"""From real cases to Table 4: five folds, cross-validated predictions, post-processing, tuning, metrics, ranking, pictures.

Every job is a process of its own, as a user starts it. The networks are too small and too briefly trained to be good;
the values of the table are compared with values computed here from the label files alone.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hardware import needs_fast_cpu
from scaffolding import CommandLine

pytestmark = [
    pytest.mark.slow(minutes=3),
    needs_fast_cpu,
    pytest.mark.real,
    pytest.mark.skipif("BRATS_ABLATE_REAL_CASES" not in os.environ, reason="BRATS_ABLATE_REAL_CASES is not set"),
]

NAME = "ds_deeper_channels_onehot"
EXPERIMENT = (
    f"+experiment={NAME}",
    "trainer=cpu",
    "trainer.epochs=1",
    "trainer.crops_per_case=2",
    "schedule.warmup_steps=2",
    "patches.shape=[128,64,64]",
    "encoder.width=0.125",
    "inference=whole_volume",
    "inference.tta._target_=brats_ablate.inference.tta.NoTTA",
)
TISSUES = {"WT": (1, 2, 4), "TC": (1, 4), "ET": (4,)}


def do(work: Path, *arguments: str) -> str:
    done = CommandLine(work, environment={"BRATS_ABLATE_WORK": str(work)}).run(*arguments)
    assert done.returncode == 0, f"{arguments}: {done.stdout[-4000:]}"
    return done.stdout


def values_of(file: Path) -> tuple[np.ndarray, np.ndarray]:
    image = nib.load(file)
    return np.asarray(image.dataobj), image.affine


def dice(predicted: np.ndarray, reference: np.ndarray) -> list[float]:
    """Of WT, TC and ET, with the challenge's rule for empty regions."""
    scores = []
    for values in TISSUES.values():
        p, r = np.isin(predicted, values), np.isin(reference, values)
        scores.append(2 * int((p & r).sum()) / int(p.sum() + r.sum()) if p.any() or r.any() else 1.0)
    return scores


def test_five_folds_to_table_4(tmp_path: Path) -> None:
    raw = Path(os.environ["BRATS_ABLATE_REAL_CASES"])
    (tmp_path / "raw").mkdir()
    for folder in sorted(path for path in raw.iterdir() if path.is_dir())[:5]:  # one a fold
        (tmp_path / "raw" / folder.name).symlink_to(folder)
    do(tmp_path, "job=prepare", f"data.raw={tmp_path / 'raw'}")
    do(tmp_path, *EXPERIMENT, "fold=0,1,2,3,4", "-m")
    do(tmp_path, *EXPERIMENT, "job=predict", "job.probabilities=true")
    do(tmp_path, *EXPERIMENT, "job=tune")
    again = (*EXPERIMENT, "job=predict", f"job.reuse={NAME}")
    do(tmp_path, *again, f"job.output={NAME}_postprocessed", "postprocess=paper")
    tuned = tmp_path / "brats21" / "predictions" / NAME / "tuned.yaml"
    do(tmp_path, *again, f"job.output={NAME}_tuned", f"job.settings={tuned}")
    best = (*EXPERIMENT, *(f"inference.labels.{region}=0.5" for region in ("wt", "tc", "et")), "job=predict")
    do(tmp_path, *best, f"job.output={NAME}_best", "job.checkpoints=1", "job.probabilities=true")
    do(tmp_path, *best, f"job.output={NAME}_best_postprocessed", f"job.reuse={NAME}_best", "postprocess=paper")
    names = [f"{NAME}{suffix}" for suffix in ("", "_postprocessed", "_tuned", "_best", "_best_postprocessed")]
    for name in names:
        do(tmp_path, "job=evaluate", f"job.name={name}")
    do(tmp_path, "job=rank", f"job.methods=[{','.join(names)}]", "job.resamples=1000")
    do(tmp_path, "job=pictures", f"job.predictions={NAME}", "job.worst=1")
    printed = do(tmp_path, "job=tables", "job.tables=[table4,table4_ensemble,table5,evaluated]", "job.resamples=1000")
    assert "Table 4. Post-processing of D+C+O" in printed

    from brats_ablate.data.store import CaseStore

    work = tmp_path / "brats21"
    store = CaseStore(work / "prepared")
    means: dict[str, list[float]] = {}
    for name in names:
        scores: dict[str, float] = {}
        for case_id in store.case_ids:
            predicted, affine = values_of(work / "predictions" / name / f"{case_id}.nii.gz")
            reference, reference_affine = values_of(next(raw.rglob(f"{case_id}_seg.nii.gz")))
            brain = np.any([values_of(f)[0] != 0 for f in raw.rglob(f"{case_id}_[ft]*.nii.gz")], axis=0)
            np.testing.assert_allclose(affine, reference_affine)
            assert set(np.unique(predicted)) <= {0, 1, 2, 4}
            box = np.s_[tuple(slice(a.min(), a.max() + 1) for a in np.nonzero(brain))]
            outside = np.ones_like(brain)
            outside[box] = False
            assert not predicted[outside].any()
            scores[case_id] = float(np.mean(dice(predicted, reference)))
        means[name] = [float(np.mean([scores[c] for c in fold])) for fold in store.folds]
    for table, suffix in (("table4", "_best"), ("table4_ensemble", "")):
        with (work / "tables" / f"{table}.csv").open(newline="") as file:
            rows = {row[""]: row for row in csv.DictReader(file)}
        for title, name in (("without", f"{NAME}{suffix}"), ("with", f"{NAME}{suffix}_postprocessed")):
            assert [float(rows[f"Fold {k}"][title]) for k in range(5)] == pytest.approx(means[name], abs=5.1e-5)
            assert float(rows["Mean"][title]) == pytest.approx(np.mean(means[name]), abs=5.1e-5)
    with (work / "evaluation" / "ranking.csv").open(newline="") as file:
        assert sorted(row["method"] for row in csv.DictReader(file)) == sorted(names)
    assert len(list((work / "predictions" / NAME / "pictures").glob("*.png"))) == 1
