"""Single flipped bits in the store and in checkpoints never change what is read without an error."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import blosc2
import numpy as np
import pytest
import torch

from brats_ablate.data.store import CaseStore
from brats_ablate.errors import DataError, RunFailed
from brats_ablate.training import checkpoint


@pytest.fixture
def own(phantom_work: Path, tmp_path: Path) -> Path:
    """A copy of a prepared store."""
    return Path(shutil.copytree(phantom_work / "phantom" / "prepared", tmp_path / "prepared"))


def case_files(own: Path) -> tuple[str, Path]:
    case_id = CaseStore(own).case_ids[0]
    return case_id, own / "cases" / case_id


def flipped(content: bytes, generator: np.random.Generator) -> bytes:
    changed = bytearray(content)
    bit = int(generator.integers(8 * len(content)))
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def unnoticed(file: Path, count: int, read: Callable[[], object]) -> list[object]:
    """Flip a random bit of `file` `count` times and return what was read without an error."""
    intact = file.read_bytes()
    generator = np.random.default_rng(0)
    read_values, sentences = [], []
    for _ in range(count):
        file.write_bytes(flipped(intact, generator))
        try:
            read_values.append(read())
        except (DataError, RunFailed) as error:
            sentences.append(str(error))
    file.write_bytes(intact)
    assert len(sentences) > count / 2
    assert all(file.parent.name in sentence for sentence in sentences)
    return read_values


def check_store(own: Path, count: int) -> None:
    case_id, folder = case_files(own)
    expected = {"images.b2nd": CaseStore(own).read_images(case_id), "labels.b2nd": CaseStore(own).read_labels(case_id)}
    for name in expected:

        def both() -> tuple[np.ndarray, np.ndarray]:
            store = CaseStore(own)
            return store.read_images(case_id), store.read_labels(case_id)

        for found in unnoticed(folder / name, count, both):  # bits that no value depends on
            for array, values in zip(found, expected.values(), strict=True):  # type: ignore[call-overload]
                np.testing.assert_array_equal(array, values)


def check_checkpoint(tmp_path: Path, count: int) -> None:
    file = tmp_path / "last.pt"
    weights = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    checkpoint.save({"model": {"w": weights}, "position": {"epoch": 3, "sums": {"loss": 1.5}}}, file)
    for found in unnoticed(file, count, lambda: checkpoint.load(file)):
        assert found["position"] == {"epoch": 3, "sums": {"loss": 1.5}}  # type: ignore[index]
        assert torch.equal(found["model"]["w"], weights)  # type: ignore[index]


@pytest.mark.slow
def test_300_flipped_bits(own: Path, tmp_path: Path) -> None:
    check_store(own, 300)
    check_checkpoint(tmp_path, 300)


def test_a_changed_record_is_noticed(own: Path) -> None:
    file = own / "records.jsonl"
    file.write_text(file.read_text().replace('"has_labels":true', '"has_labels":false', 1))
    with pytest.raises(DataError, match="its cases do not match its fingerprint"):
        CaseStore(own)


def test_damage_names_the_folder_and_the_command(own: Path) -> None:
    case_id, folder = case_files(own)
    other = own / "cases" / CaseStore(own).case_ids[1]
    hash_of_first = CaseStore(own).record(case_id).content_hash
    stored = blosc2.open(str(other / "labels.b2nd"))
    array = blosc2.asarray(np.zeros(CaseStore(own).record(case_id).box.shape, np.uint8))
    assert stored.dtype == array.dtype
    array.schunk.vlmeta["content"] = hash_of_first
    (folder / "labels.b2nd").write_bytes(array.to_cframe())
    with pytest.raises(DataError, match=f"{folder} is damaged: it is not what was prepared; delete this folder"):
        CaseStore(own).read_labels(case_id)


def test_an_array_that_would_be_computed_is_refused(own: Path, tmp_path: Path) -> None:
    """A lazy expression in place of an array runs code when it is opened; blosc2 calls it active."""
    case_id, folder = case_files(own)
    operand = blosc2.ones((4, 4), urlpath=str(tmp_path / "operand.b2nd"), mode="w")
    expression = blosc2.lazyexpr("a + 1", operands={"a": operand})
    expression.save(urlpath=str(tmp_path / "lazy.b2nd"))
    shutil.copy(tmp_path / "lazy.b2nd", folder / "images.b2nd")
    with pytest.raises(DataError, match=r"images\.b2nd is no plain array but a .*could run code"):
        CaseStore(own).read_images(case_id)
