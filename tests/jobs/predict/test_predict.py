from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from by_monai import by_monai
from schemes import BRATS2021

from brats_ablate.data.store import CaseStore, to_original_space
from brats_ablate.errors import ConfigError, DataError, RunFailed
from brats_ablate.inference.prediction_store import PredictionFolder, find_label_files
from brats_ablate.runs.directory import RunDirectory

Job = Callable[..., None]
FinishedRun = Callable[..., RunDirectory]
NO_TTA = "inference=sliding_window_without_tta"


def store_of(work: Path) -> CaseStore:
    return CaseStore(work / "phantom" / "prepared")


def predictions(work: Path, output: str = "baseline") -> PredictionFolder:
    return PredictionFolder(work / "phantom" / "predictions" / output)


@pytest.mark.slow
@pytest.mark.parametrize("flips", [False, True])
def test_prepared_cases_are_predicted_out_of_fold(job: Job, finished_run: FinishedRun, work: Path, flips: bool) -> None:
    dice = (0.5,) if flips else (0.5, 0.4)  # an ensemble of two without flips, eight flips of one network
    runs = [finished_run("+experiment=baseline", f"fold={fold}", dice=dice) for fold in range(3)]
    inference = "inference=sliding_window" if flips else NO_TTA
    store = store_of(work)
    chosen = [store.folds[0][0], store.folds[2][1]]
    job("+experiment=baseline", "job=predict", "job.probabilities=true", inference, f"job.cases=[{','.join(chosen)}]")
    for case_id, run in zip(chosen, (runs[0], runs[2]), strict=True):
        probabilities, _ = predictions(work).read_probabilities(case_id)
        assert probabilities.dtype == np.float16
        np.testing.assert_allclose(probabilities, by_monai(work, case_id, [run], flips=flips), atol=5e-4)
        others = by_monai(work, case_id, [runs[1]])
        assert np.abs(probabilities - others).max() > 0.05


@pytest.mark.slow
def test_label_files_are_on_the_original_grid_in_its_convention(
    job: Job, finished_run: FinishedRun, work: Path
) -> None:
    for fold in range(3):
        finished_run("+experiment=baseline", f"fold={fold}")
    job("+experiment=baseline", "job=predict", "job.probabilities=true", NO_TTA, "inference.labels.et=0.5")
    store = store_of(work)
    assert sorted(find_label_files(predictions(work).path)) == store.case_ids
    for case_id in store.case_ids[:2]:
        image = nib.load(predictions(work).label_file(case_id))
        original = nib.load(work / "phantom" / "raw" / case_id / f"{case_id}_flair.nii.gz")
        np.testing.assert_allclose(image.affine, original.affine)
        values = np.asarray(image.dataobj)
        assert set(np.unique(values)) <= {0, 1, 2, 4}
        probabilities, record = predictions(work).read_probabilities(case_id)
        nested = BRATS2021.labels_from_probabilities(probabilities, (0.45, 0.4, 0.5))
        np.testing.assert_array_equal(values, BRATS2021.decode(to_original_space(record, nested)))
        outside = to_original_space(record, np.ones(record.box.shape, np.uint8)) == 0
        assert outside.any()
        assert not values[outside].any()


@pytest.mark.slow
def test_raw_cases_by_the_whole_ensemble_and_the_invalid_one_is_reported(
    job: Job, finished_run: FinishedRun, work: Path, tmp_path: Path
) -> None:
    runs = [finished_run("+experiment=baseline", f"fold={fold}", dice=(0.5,)) for fold in range(2)]
    store = store_of(work)
    first, second = store.case_ids[:2]
    for case_id in (first, second):
        shutil.copytree(work / "phantom" / "raw" / case_id, tmp_path / "new" / case_id)
    (tmp_path / "new" / first / f"{first}_seg.nii.gz").unlink()
    (tmp_path / "new" / second / f"{second}_t2.nii.gz").unlink()
    with pytest.raises(DataError, match=second):
        job("+experiment=baseline", "job=predict", f"job.source={tmp_path / 'new'}", "job.probabilities=true", NO_TTA)
    assert list(find_label_files(predictions(work).path)) == [first]
    probabilities, record = predictions(work).read_probabilities(first)
    assert record.box == store.record(first).box
    np.testing.assert_allclose(probabilities, by_monai(work, first, runs), atol=5e-4)


@pytest.mark.slow
def test_raw_cases_are_predicted_again_when_their_files_or_their_reading_changed(
    job: Job, finished_run: FinishedRun, work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished_run("+experiment=baseline", "fold=0", dice=(0.5,))
    new, cases = tmp_path / "new", store_of(work).case_ids[:2]
    for case_id in cases:
        shutil.copytree(work / "phantom" / "raw" / case_id, new / case_id)
    command = ("+experiment=baseline", "job=predict", f"job.source={new}", NO_TTA)
    job(*command, "job.probabilities=true")
    changed = predictions(work).label_file(cases[1])
    times = {case_id: predictions(work).label_file(case_id).stat().st_mtime_ns for case_id in cases}
    image = new / cases[1] / f"{cases[1]}_t2.nii.gz"
    os.utime(image, ns=(times[cases[1]] + 1, times[cases[1]] + 1))
    capsys.readouterr()
    job(*command)
    assert "1 cases predicted, 1 already existed, skipped" in capsys.readouterr().out
    assert changed.stat().st_mtime_ns > times[cases[1]]
    assert not predictions(work).has_probabilities(cases[1])  # of the image before
    assert predictions(work).label_file(cases[0]).stat().st_mtime_ns == times[cases[0]]

    with pytest.raises(RunFailed, match=r"different predictions \(data\.background: auto -> 0\); set job\.output"):
        job(*command, "data.background=0")
    names = "{flair:[flair],t1:[t1ce],t1ce:[t1],t2:[t2]}"
    with pytest.raises(RunFailed, match=r"different predictions \(data\.layout\.modalities: "):
        job(*command, f"data.layout.modalities={names}")
    manifest = predictions(work).manifest()
    del manifest["reading"]  # as earlier versions wrote it
    (predictions(work).path / "predictions.json").write_text(json.dumps(manifest))
    job(*command)
    assert "0 cases predicted, 2 already existed, skipped" in capsys.readouterr().out


@pytest.mark.slow
def test_an_interrupted_call_is_continued(job: Job, finished_run: FinishedRun, work: Path) -> None:
    for fold in range(3):
        finished_run("+experiment=baseline", f"fold={fold}", dice=(0.5,))
    job("+experiment=baseline", "job=predict", NO_TTA)
    files = find_label_files(predictions(work).path)
    times = {case_id: file.stat().st_mtime_ns for case_id, file in files.items()}
    missing = store_of(work).case_ids[3]
    content = files[missing].read_bytes()
    files[missing].unlink()
    job("+experiment=baseline", "job=predict", NO_TTA)
    assert files[missing].read_bytes() == content
    unchanged = {case_id for case_id, file in files.items() if file.stat().st_mtime_ns == times[case_id]}
    assert unchanged == files.keys() - {missing}


@pytest.mark.slow
def test_shards_divide_the_cases(job: Job, finished_run: FinishedRun, work: Path) -> None:
    for fold in range(3):
        finished_run("+experiment=baseline", f"fold={fold}", dice=(0.5,))
    written: list[set[str]] = []
    for shard in range(2):
        job("+experiment=baseline", "job=predict", NO_TTA, "job.shards=2", f"job.shard={shard}")
        written.append(set(find_label_files(predictions(work).path)) - set().union(*written))
    assert sorted(map(len, written)) == [3, 3]
    with pytest.raises(ConfigError, match=r"job\.shard=2"):
        job("+experiment=baseline", "job=predict", "job.shards=2", "job.shard=2")


@pytest.mark.slow
def test_experiments_of_different_inputs_make_one_ensemble(job: Job, finished_run: FinishedRun, work: Path) -> None:
    plain = [finished_run("+experiment=baseline", f"fold={fold}", dice=(0.5,)) for fold in range(3)]
    for fold in range(3):
        finished_run("+experiment=ds_onehot", f"fold={fold}", dice=(0.5,))
    case_id = store_of(work).folds[1][0]
    select = [f"job.cases=[{case_id}]", "job.probabilities=true", NO_TTA]
    job("job=predict", "name=both", "job.runs=[baseline,ds_onehot]", *select)
    job("job=predict", "name=second", "job.runs=[ds_onehot]", *select)
    both, second = (predictions(work, name).read_probabilities(case_id)[0] for name in ("both", "second"))
    mean = (by_monai(work, case_id, [plain[1]]) + second) / 2
    np.testing.assert_allclose(both, mean, atol=1e-3)


@pytest.mark.slow
def test_the_best_finished_learning_rate_of_each_fold(job: Job, finished_run: FinishedRun, work: Path) -> None:
    best = {}
    for fold in range(3):
        for lr, dice in ((5e-4, 0.5 - 0.1 * fold), (9e-4, 0.35)):
            finished_run("+experiment=baseline", f"fold={fold}", f"lr={lr}", dice=(dice,))
        best[fold] = 5e-4 if fold < 2 else 9e-4
    finished_run("+experiment=baseline", "fold=0", "lr=7e-4", dice=(0.9,), state="running")
    job("+experiment=baseline", "job=predict", NO_TTA)
    members = predictions(work).manifest()["probabilities"]["members"]
    assert [m.split()[1:3] for m in members] == [[f"fold={fold}", f"lr={lr:g}"] for fold, lr in best.items()]


@pytest.mark.slow
def test_saved_probabilities_are_relabeled_without_networks(job: Job, finished_run: FinishedRun, work: Path) -> None:
    runs = [finished_run("+experiment=baseline", f"fold={fold}", dice=(0.5,)) for fold in range(3)]
    job("+experiment=baseline", "job=predict", "job.probabilities=true", NO_TTA)
    for run in runs:
        shutil.rmtree(run.path)
    job("+experiment=baseline", "job=predict", "job.output=other", "job.reuse=baseline", "inference.labels.wt=0.6")
    case_id = store_of(work).case_ids[0]
    probabilities, record = predictions(work).read_probabilities(case_id)
    expected = BRATS2021.decode(
        to_original_space(record, BRATS2021.labels_from_probabilities(probabilities, (0.6, 0.4, 0.45)))
    )
    relabeled = np.asarray(nib.load(predictions(work, "other").label_file(case_id)).dataobj)
    np.testing.assert_array_equal(relabeled, expected)


@pytest.mark.slow
def test_a_case_that_was_predicted_again_is_relabeled_again(job: Job, finished_run: FinishedRun, work: Path) -> None:
    for fold in range(3):
        finished_run("+experiment=baseline", f"fold={fold}", dice=(0.5,))
    job("+experiment=baseline", "job=predict", "job.probabilities=true", NO_TTA)
    relabel = ("+experiment=baseline", "job=predict", "job.output=other", "job.reuse=baseline")
    job(*relabel)
    source, other = predictions(work), predictions(work, "other")
    case_id, unchanged = store_of(work).case_ids[:2]
    kept = other.label_file(unchanged).stat().st_mtime_ns
    probabilities, record = source.read_probabilities(case_id)
    source.save_probabilities(record, np.zeros_like(probabilities))
    now = other.label_file(case_id).stat().st_mtime_ns + 10**9
    os.utime(source.label_file(case_id), ns=(now, now))
    job(*relabel)
    assert not np.asarray(nib.load(other.label_file(case_id)).dataobj).any()
    assert other.label_file(unchanged).stat().st_mtime_ns == kept


@pytest.mark.slow
def test_rejects_what_would_mix_predictions(job: Job, finished_run: FinishedRun, work: Path) -> None:
    runs = [finished_run("+experiment=baseline", f"fold={fold}", dice=(0.5,)) for fold in range(3)]
    one = f"job.cases=[{store_of(work).folds[0][0]}]"
    job("+experiment=baseline", "job=predict", NO_TTA, one)
    with pytest.raises(RunFailed, match=r"different predictions .*labels.*0\.6.*job\.output"):
        job("+experiment=baseline", "job=predict", NO_TTA, one, "inference.labels.wt=0.6")
    with pytest.raises(RunFailed, match=r"different predictions .*average.*logits.*job\.output"):
        job("+experiment=baseline", "job=predict", NO_TTA, one, "inference.average=logits")
    foreign = finished_run("+experiment=baseline", "fold=0", "name=foreign", "loss=focal_dice", dice=(0.5,))
    shutil.copy(foreign.best_checkpoints()[0], runs[0].best_checkpoints()[0])
    with pytest.raises(RunFailed, match=r"different configuration.*loss"):
        job("+experiment=baseline", "job=predict", NO_TTA, one, "job.output=new")


def test_rejects_runs_of_different_data(job: Job, finished_run: FinishedRun) -> None:
    for fold in range(3):
        run = finished_run("+experiment=baseline", f"fold={fold}", dice=(0.5,))
        run.write_manifest(run.manifest() | {"data_fingerprint": "0123"})
    with pytest.raises(DataError, match="trained on different data"):
        job("+experiment=baseline", "job=predict")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["job.runs=[nothing]"], "nothing has no finished run"),
        (["job.lr=5e-4"], "no finished run with lr=0.0005"),
        (["job.checkpoints=0"], r"job\.checkpoints=0"),
        (["job.cases=[nobody]"], "no case nobody"),
        (["job.settings=/nowhere.yaml"], "does not exist"),
        (["job.reuse=nothing"], r"job\.reuse=nothing"),
        ([], "no finished run of fold 1"),
    ],
)
def test_invalid_keys_are_reported(job: Job, finished_run: FinishedRun, overrides: list[str], sentence: str) -> None:
    finished_run("+experiment=baseline", "fold=0", dice=(0.5,))
    with pytest.raises(ConfigError, match=sentence):
        job("+experiment=baseline", "job=predict", *overrides)


@pytest.mark.slow
def test_manifest_records_window_and_postprocessing(job: Job, finished_run: FinishedRun, work: Path) -> None:
    for fold in range(3):
        finished_run("+experiment=baseline", f"fold={fold}", dice=(0.5,))
    one = f"job.cases=[{store_of(work).folds[0][0]}]"
    job("+experiment=baseline", "job=predict", one, "postprocess=paper", "inference=whole_volume")
    recorded = json.loads((predictions(work).path / "predictions.json").read_text())
    assert recorded["probabilities"]["window"]["_target_"].endswith("WholeVolume")
    assert recorded["labels"]["postprocess"]["small_components"]["below_voxels"] == 16
