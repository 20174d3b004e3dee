"""Whatever bytes a file holds, its reader returns a value or says in one sentence that it cannot."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from schemes import LAYOUTS

from brats_ablate.data import dataset_json, nifti
from brats_ablate.data.case_list import read_list
from brats_ablate.data.store import CaseStore
from brats_ablate.errors import UserError
from brats_ablate.launch.submission import read_submission
from brats_ablate.runs.directory import Coordinates, RunDirectory

FEW = settings(max_examples=60, deadline=None, derandomize=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
CONTENT = (
    st.binary(max_size=200)
    | JSON.map(lambda value: json.dumps(value).encode())
    | JSON.map(lambda value: yaml.safe_dump(value).encode())
)


def complaint(read: Callable[[], object]) -> str | None:
    """Return the sentence of the error that `read` raises; None if it raises none."""
    try:
        read()
    except UserError as error:
        return str(error)
    return None


def run_in(folder: Path) -> RunDirectory:
    run = RunDirectory.at(folder, Coordinates("a", 0, 7e-4, 0))
    run.path.mkdir(parents=True)
    return run


READERS: dict[str, Callable[[RunDirectory], object]] = {
    "status.json": RunDirectory.status,
    "manifest.json": RunDirectory.identity,
    "config.yaml": RunDirectory.config,
    "metrics.jsonl": RunDirectory.metrics,
    "cases.jsonl": RunDirectory.cases,
    "launch.json": lambda run: read_submission(run.path),
}


@pytest.mark.parametrize("name", READERS)
def test_files_of_a_run_directory(name: str) -> None:
    @FEW
    @given(CONTENT)
    def check(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            run = run_in(Path(folder))
            (run.path / name).write_bytes(content)
            sentence = complaint(lambda: READERS[name](run)) or name
            assert name in sentence
            assert "\n" not in sentence

    check()


@pytest.mark.parametrize("name", ["cohort.json", "records.jsonl", "folds.json"])
def test_files_of_a_store(name: str, phantom_work: Path) -> None:
    prepared = phantom_work / "phantom" / "prepared"

    @FEW
    @given(CONTENT)
    def check(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for file in ("cohort.json", "records.jsonl", "folds.json"):
                (Path(folder) / file).write_bytes((prepared / file).read_bytes())
            (Path(folder) / "cases").symlink_to(prepared / "cases")
            (Path(folder) / name).write_bytes(content)
            with pytest.raises(UserError, match="prepare"):
                CaseStore(Path(folder))

    check()


@pytest.mark.slow
@given(position=st.integers(0, 351), values=st.binary(min_size=1, max_size=8), compressed=st.booleans())
@settings(max_examples=300, deadline=None, derandomize=True)
def test_nifti_headers(position: int, values: bytes, compressed: bool) -> None:
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    content = bytearray(image.to_bytes())
    content[position : position + len(values)] = values
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / ("a.nii.gz" if compressed else "a.nii")
        file.write_bytes(gzip.compress(bytes(content)) if compressed else bytes(content))
        sentence = complaint(lambda: nifti.read_volume(file))
        if sentence is not None:
            assert str(file) in sentence
            return
        array, _ = nifti.read_volume(file)
        assert array.ndim == 3
        assert array.size <= 60


@FEW
@given(CONTENT)
def test_lists_of_cases(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("cases.csv", "cases.json"):
            (Path(folder) / name).write_bytes(content)
            file = Path(folder) / name
            assert name in (complaint(lambda file=file: read_list(file, LAYOUTS["brats2021"])) or name)  # type: ignore[misc]
        file = Path(folder) / "dataset.json"
        file.write_bytes(content)
        assert file.name in (complaint(lambda: dataset_json.read(file)) or file.name)
