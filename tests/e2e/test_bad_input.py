"""Bad input, given to the command line as a user would: one sentence that names the file or key, never a traceback."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scaffolding import CommandLine, finish, wait_until

from brats_ablate.runs.directory import find_runs

Started = subprocess.Popen[str]
TRAINING = (
    "data.n_folds=3", "trainer=cpu", "trainer.epochs=1", "trainer.crops_per_case=1", "trainer.precision=fp32",
    "patches.shape=[16,16,16]", "encoder.channels=[8,8,16,16]", "encoder.width=1.0",
)  # fmt: skip
NEW_AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


@pytest.fixture
def raw(phantom_work: Path, tmp_path: Path) -> Path:
    """Twelve sound cases in BraTS 2021 files, BraTS2021_00000 to 00011: the phantom's six, twice."""
    target = tmp_path / "raw"
    sources = sorted(path for path in (phantom_work / "phantom" / "raw").iterdir() if path.is_dir())
    for number in range(12):
        source = sources[number % len(sources)]
        folder = target / f"BraTS2021_{number:05d}"
        folder.mkdir(parents=True)
        for file in source.iterdir():
            shutil.copy(file, folder / file.name.replace(source.name, folder.name))
    return target


def file_of(raw: Path, number: int, kind: str) -> Path:
    name = f"BraTS2021_{number:05d}"
    return raw / name / f"{name}_{kind}.nii.gz"


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray], affine: np.ndarray | None = None) -> None:
    image = nib.load(path)
    array = change(np.asanyarray(image.dataobj).copy())
    nib.save(nib.Nifti1Image(array, image.affine if affine is None else affine), path)


def with_nan(array: np.ndarray) -> np.ndarray:
    changed = array.astype(np.float32)
    changed[tuple(s // 2 for s in changed.shape)] = np.nan
    return changed


def relabel(values: dict[int, int]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: np.vectorize(lambda v: values.get(int(v), int(v)), otypes=[np.uint8])(array)


def cli(*arguments: str, work: Path, file_limit: int | None = None) -> tuple[int, str]:
    """Exit code and output of `python -m brats_ablate`; with `file_limit` no file can grow beyond so many bytes."""
    limited = (
        "import resource, runpy, sys; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({file_limit}, {file_limit})); "
        "runpy.run_module('brats_ablate', run_name='__main__')"
    )
    program = ("-m", "brats_ablate") if file_limit is None else ("-c", limited)
    done = CommandLine(work, environment={"BRATS_ABLATE_WORK": str(work)}, program=program).run(*arguments)
    return done.returncode, done.stdout


def prepare(raw: Path, work: Path, *arguments: str, file_limit: int | None = None) -> tuple[int, str]:
    line = ("job=prepare", f"data.raw={raw}", "data.n_folds=3", "job.workers=1", *arguments)
    return cli(*line, work=work, file_limit=file_limit)


def sentence(output: str) -> str:
    """The one sentence that the command line printed about what is wrong."""
    assert "Traceback" not in output, output
    (line,) = (line for line in output.splitlines() if line.startswith("brats-ablate: "))
    assert output.rstrip().endswith(line), output
    return line


@pytest.mark.slow
def test_each_invalid_case_is_named_with_its_reason_and_the_others_are_prepared(raw: Path, tmp_path: Path) -> None:
    file_of(raw, 0, "t1ce").unlink()
    truncated = file_of(raw, 1, "t2")
    truncated.write_bytes(truncated.read_bytes()[: truncated.stat().st_size // 2])
    rewrite(file_of(raw, 2, "t1"), lambda array: array[:-1])
    rewrite(file_of(raw, 3, "flair"), lambda array: array, affine=NEW_AFFINE)
    rewrite(file_of(raw, 4, "t2"), with_nan)
    rewrite(file_of(raw, 5, "t1"), np.zeros_like)
    rewrite(file_of(raw, 6, "seg"), relabel({2: 7}))
    shutil.copytree(raw / "BraTS2021_00007", raw / "second_copy" / "BraTS2021_00007")
    file_of(raw, 8, "seg").unlink()
    expected = {
        0: "modality t1ce is missing; add the file or remove the case",
        1: f"{truncated}",
        2: "resample one to the grid of the other",
        3: "has other axes (directions or voxel sizes) than",
        4: "1 voxels that are NaN or infinite; replace the file",
        5: "(t1) is zero everywhere; replace the file",
        6: "BraTS2021_00006_seg.nii.gz: ",
        7: "the id occurs 2 times",
        8: "the segmentation is missing; add it",
    }

    code, output = prepare(raw, tmp_path)
    assert code == 1
    message = sentence(output)
    assert (
        f"{len(expected)} of 12 cases are invalid, for the reasons in {tmp_path}/brats21/prepared/problems.csv"
        in message
    )
    with (tmp_path / "brats21" / "prepared" / "problems.csv").open(newline="") as file:
        problems = {row["case"]: row["reason"] for row in csv.DictReader(file)}
    assert sorted(problems) == [f"BraTS2021_{number:05d}" for number in expected]
    for number, part in expected.items():
        assert part in problems[f"BraTS2021_{number:05d}"]
        assert "\n" not in problems[f"BraTS2021_{number:05d}"]
    stored = sorted(path.name for path in (tmp_path / "brats21" / "prepared" / "cases").iterdir())
    assert stored == [f"BraTS2021_{number:05d}" for number in (9, 10, 11)]


@pytest.mark.slow
def test_labels_of_a_different_convention(raw: Path, tmp_path: Path) -> None:
    for number in range(12):
        rewrite(file_of(raw, number, "seg"), relabel({1: 2, 2: 1}))
    code, output = prepare(raw, tmp_path)
    assert code == 1
    message = sentence(output)
    assert "the labels do not look like labels=brats2021" in message
    assert "; check labels, or set job.trust_convention=true" in message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["job=prepare"], 2, "data.raw is not set; give the folder of the unpacked data set: data.raw=/path/to/it"),
        (["job=prepare", "data.raw=/no/such/folder"], 2, "/no/such/folder is not a folder; point data.raw at"),
        (["job=prepare", "data.list=no.csv"], 2, "the list of cases no.csv does not exist; give a .csv or .json file"),
    ],
)
def test_no_folder_of_data(tmp_path: Path, arguments: list[str], code: int, part: str) -> None:
    actual, output = cli(*arguments, work=tmp_path)
    assert actual == code
    assert part in sentence(output)


@pytest.mark.slow
def test_files_of_another_layout(raw: Path, tmp_path: Path) -> None:
    code, output = cli("job=prepare", "data=brats23", f"data.raw={raw}", work=tmp_path)
    assert code == 1
    part = "its files look like data/layout=brats2018 or brats2021; not recognized: BraTS2021_00000_flair.nii.gz"
    assert part in sentence(output)


@pytest.mark.slow
def test_a_full_disk_while_preparing(raw: Path, tmp_path: Path) -> None:
    code, output = prepare(raw, tmp_path, file_limit=10_000)
    assert code == 1
    message = sentence(output)
    assert f"{tmp_path}/brats21/prepared cannot be written" in message
    assert "(File too large); free some space and run the same command again" in message
    code, output = prepare(raw, tmp_path)
    assert code == 0, output


@pytest.mark.slow
def test_a_full_disk_while_training_and_a_run_of_a_different_configuration(raw: Path, tmp_path: Path) -> None:
    baseline, onehot = ("+experiment=baseline", *TRAINING), ("+experiment=ds_onehot", *TRAINING)
    assert prepare(raw, tmp_path)[0] == 0

    code, output = cli(*baseline, work=tmp_path, file_limit=60_000)
    assert code == 1
    (run,) = find_runs(tmp_path / "brats21" / "runs")
    assert f"File too large: {run.path}/checkpoints/" in sentence(output)
    assert "free some space and run the same command again" in sentence(output)
    status = run.status()
    assert status.state == "failed"
    assert f"brats-ablate: {status.reason}" == sentence(output)
    code, output = cli(*baseline, work=tmp_path)  # the same command, with space
    assert code == 0, output

    code, output = cli(*baseline, "optimizer.weight_decay=0.1", work=tmp_path)
    assert code == 2
    message = sentence(output)
    assert f"{run.path} was started with a different configuration (optimizer.weight_decay: 0.0001 -> 0.1)" in message
    assert "give this one another name=…, or delete that directory" in message

    code, output = cli(*onehot, work=tmp_path)
    assert code == 0, output
    _, other = find_runs(tmp_path / "brats21" / "runs")
    shutil.copy(run.best_checkpoints()[0], other.best_checkpoints()[0])
    folds = json.loads((tmp_path / "brats21" / "prepared" / "folds.json").read_text())["validation"]
    code, output = cli(*onehot, "job=predict", f"job.cases=[{folds[0][0]}]", "job.checkpoints=1", work=tmp_path)
    assert code == 1
    assert f"{other.best_checkpoints()[0]} has a different configuration from its run directory " in sentence(output)


@pytest.mark.slow
def test_data_that_changed_since_a_run_started(raw: Path, tmp_path: Path) -> None:
    training = ("+experiment=baseline", *TRAINING)
    assert prepare(raw, tmp_path)[0] == 0
    code, output = cli(*training, work=tmp_path)
    assert code == 0, output
    (run,) = find_runs(tmp_path / "brats21" / "runs")
    rewrite(file_of(raw, 4, "t2"), lambda array: array * 2)
    assert prepare(raw, tmp_path)[0] == 0
    (run.path / "status.json").unlink()  # as if it had not been finished
    code, output = cli(*training, work=tmp_path)
    assert code == 1
    message = sentence(output)
    assert f"{run.path} was started with different data than {tmp_path}/brats21/prepared now contains" in message
    assert "delete that directory to train again, or restore the data" in message


@pytest.mark.slow
def test_two_processes_of_one_run(launch: Callable[..., Started], work: Path) -> None:
    line = ("+experiment=baseline", "trainer.epochs=10000", "validation.every=10000")
    first = launch(*line)
    try:
        wait_until(lambda: any(run.metrics() for run in find_runs(work / "phantom" / "runs")), first)
        second = finish(launch(*line))
    finally:
        first.kill()
        first.communicate()
    assert second.returncode == 1
    (run,) = find_runs(work / "phantom" / "runs")
    message = sentence(second.stdout)
    assert f"{run.path} is being trained by process {first.pid} on " in message
    assert "wait for it or stop it" in message
