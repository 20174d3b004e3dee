"""Which file initial weights are, the checksum of its content, and whether they saw the validation cases."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scaffolding import run_at, write_run

from brats_ablate.errors import ConfigError
from brats_ablate.runs.weights_source import RECORD, checkpoint_file, content_checksum, leak, run_of, trained_on
from brats_ablate.runtime.files import write_json
from brats_ablate.training import checkpoint

WEIGHTS = torch.arange(6.0)
OURS = {"data.name": "a", "fold": 0, "data.n_folds": 5, "data.fold_seed": 1, "data_fingerprint": "x"}


def saved(file: Path, weights: torch.Tensor = WEIGHTS, **content: Any) -> Path:
    checkpoint.save({"model": {"w": weights}, **content}, file)
    return file


def test_the_checksum_is_of_the_content_alone(tmp_path: Path) -> None:
    first = saved(tmp_path / "a.pt")
    torch.save({"model": {"w": WEIGHTS}}, tmp_path / "other_name.pt")  # the folder inside is named after the file
    shutil.copy(first, tmp_path / "copy.pt")
    assert {content_checksum(f) for f in tmp_path.glob("*.pt")} == {content_checksum(first)}
    retrained = {content_checksum(saved(tmp_path / "b.pt", WEIGHTS + 1e-6)), content_checksum(saved(first, epoch=3))}
    assert len(retrained | {content_checksum(tmp_path / "copy.pt")}) == 3


def test_what_is_damaged_or_no_checkpoint_is_refused(tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole.pt", torch.arange(2000.0)).read_bytes()
    start = whole.index(np.arange(2000, dtype=np.float32).tobytes())
    flipped = bytearray(whole)
    flipped[start + 4000] ^= 1
    with (tmp_path / "data.zip").open("wb") as stream, zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a/notes.txt", "no weights")
    contents = {"flipped": bytes(flipped), "short": whole[:-300], "empty": b"", "text": b"no checkpoint"}
    contents["zip"] = (tmp_path / "data.zip").read_bytes()
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match=rf"{name} is damaged or no checkpoint; name another"):
            content_checksum(tmp_path / name)


def test_a_run_directory_is_its_best_checkpoint(tmp_path: Path) -> None:
    run = write_run(run_at(tmp_path), dice=(0.5, 0.4))
    with pytest.raises(ConfigError, match=r"contains no best_\*\.pt any more"):
        checkpoint_file(run.path)
    best, _ = saved(run.best_checkpoint(1, 0.5)), saved(run.best_checkpoint(2, 0.4))
    assert checkpoint_file(run.path) == best
    assert checkpoint_file(run.best_checkpoint(2, 0.4)) == run.best_checkpoint(2, 0.4)
    found = run_of(best)
    assert found.path == run.path
    assert run_of(saved(tmp_path / "best.pt")) is None


def test_a_source_that_is_absent_or_unfinished_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere does not exist; name a run directory or a checkpoint file"):
        checkpoint_file(tmp_path / "nowhere")
    run = write_run(run_at(tmp_path), "running", epochs=9)
    with pytest.raises(ConfigError, match=r"seed=0 has not finished; train it to its end"):
        checkpoint_file(run.path)
    with pytest.raises(ConfigError, match=r"fold=0 is no run directory; name one"):
        checkpoint_file(run.path.parents[1])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({}, None),
        ({"fold": 1}, "theirs: fold=1; here: fold=0"),
        ({"data.n_folds": 3}, "theirs: data.n_folds=3; here: data.n_folds=5"),
        ({"data.fold_seed": 2}, "theirs: data.fold_seed=2; here: data.fold_seed=1"),
        ({"data.name": "b", "data_fingerprint": "y", "fold": 1}, None),  # another data set
        ({"data.name": "b", "fold": 1}, "theirs: fold=1"),  # the same under another name
        ({"data_fingerprint": "y"}, "were trained on a when it had other content"),
        ({"data_fingerprint": None}, None),  # a file without a run directory
        ({"data_fingerprint": None, "fold": 1}, "theirs: fold=1"),
    ],
)
def test_weights_that_saw_validation_cases_are_a_leak(change: dict[str, Any], sentence: str | None) -> None:
    found = leak(OURS | change, OURS)
    assert (found is None) == (sentence is None)
    assert (sentence or "") in (found or "")
    if found is not None and "theirs" in found:
        has_same_folds = change.keys() <= {"fold", "data.name", "data_fingerprint"}
        remedy = "take weights of the same fold" if has_same_folds else "train them again under the folds of this run"
        assert remedy in found


def test_weights_were_trained_on_the_data_of_their_source_too(tmp_path: Path) -> None:
    identity = {"data.name": "b", "fold": 0, "data.n_folds": 5, "data.fold_seed": 1, "lr": 1.0}
    run = write_run(run_at(tmp_path), manifest={"identity": identity, "data_fingerprint": "y"})
    own = {key: identity[key] for key in OURS if key in identity} | {"data_fingerprint": "y"}
    assert trained_on(run) == [own]
    write_json(run.path / RECORD, {"trained_on": [OURS]})
    assert trained_on(run) == [own, OURS]
