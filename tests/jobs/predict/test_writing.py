"""Cases are labeled and written in a thread while the next ones are predicted."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from schemes import BRATS2021

from brats_ablate.errors import DataError
from brats_ablate.inference.prediction_store import CasePrediction, PredictionFolder
from brats_ablate.jobs import predict
from brats_ablate.jobs.predict.case_source import CaseSource

RECORD: Any = None
PREDICTION = CasePrediction(np.zeros((3, 1, 1, 1), np.float16), RECORD)


def label(probabilities: np.ndarray, fold: int | None) -> None:
    """A stand-in for the label pipeline."""


def write_all(results: Iterator[Any], folder: Path) -> dict[str, str]:
    source = CaseSource([], lambda _: None, {}, {}, {})  # type: ignore[arg-type, return-value]
    return predict._write_all(results, 0, source, PredictionFolder(folder), label, False, BRATS2021)  # type: ignore[arg-type]


def test_a_case_is_written_while_the_next_is_predicted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written = threading.Event()
    monkeypatch.setattr(predict, "write_case", lambda *_: written.set())

    def results() -> Iterator[Any]:
        yield "first", PREDICTION
        assert written.wait(10)  # would not come if this thread wrote it
        yield "second", PREDICTION

    assert write_all(results(), tmp_path) == {}


def test_at_most_two_predictions_are_in_memory_and_the_order_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    written: list[str] = []
    in_memory: list[int] = []

    def write_case(file: Path, *_: object) -> None:
        time.sleep(0.03)  # longer than a prediction
        written.append(file.name)

    def results() -> Iterator[Any]:
        for i in range(6):
            in_memory.append(i + 1 - len(written))
            yield f"case{i}", DataError("no such file") if i == 3 else PREDICTION

    monkeypatch.setattr(predict, "write_case", write_case)
    assert write_all(results(), tmp_path) == {"case3": "no such file"}
    assert written == [f"case{i}.nii.gz" for i in (0, 1, 2, 4, 5)]
    assert max(in_memory[:4]) <= 2  # case 3 is never written


def test_an_error_of_the_writer_ends_the_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def write_case(file: Path, *_: object) -> None:
        raise OSError(28, "No space left on device", str(file))

    predicted: list[int] = []

    def results() -> Iterator[Any]:
        for i in range(6):
            predicted.append(i)
            yield f"case{i}", PREDICTION

    monkeypatch.setattr(predict, "write_case", write_case)
    with pytest.raises(OSError, match=r"No space left on device: .*case0\.nii\.gz"):
        write_all(results(), tmp_path)
    assert predicted == [0, 1]
    assert not any(thread.name.startswith("prefetch") for thread in threading.enumerate())
