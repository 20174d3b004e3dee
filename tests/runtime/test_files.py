from __future__ import annotations

import errno
import math
import os
from pathlib import Path

import pytest

from brats_ablate.runtime import files


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space and run the same command again"),
        (errno.EDQUOT, "free some space and run the same command again"),
        (errno.EFBIG, "free some space and run the same command again"),
        (errno.ESTALE, "the file system is lost or failing; bring it back and run the same command again"),
        (errno.EIO, "the file system is lost or failing; bring it back and run the same command again"),
        (errno.ENOTCONN, "the file system is lost or failing; bring it back and run the same command again"),
        (errno.EACCES, "check path and permissions"),
    ],
)
def test_each_error_has_a_message_with_file_and_remedy(number: int, remedy: str) -> None:
    error = OSError(number, os.strerror(number), "/runs/last.pt")
    assert files.os_error_message(error) == f"{os.strerror(number)}: /runs/last.pt; {remedy}"


def test_with_filename_names_the_file_that_python_leaves_out() -> None:
    error = OSError(errno.EIO, "Input/output error")  # as from writing to an open file
    assert str(files.os_error_message(error)).startswith(f"{error.strerror}; ")
    assert "/runs/last.pt" in str(files.os_error_message(files.with_filename(error, "/runs/last.pt")))


def test_errors_that_are_not_file_related_have_no_message() -> None:
    assert files.os_error_message(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")) is None
    assert files.os_error_message(OSError("a library's own words")) is None


def test_the_os_error_behind_a_librarys_error() -> None:
    error = RuntimeError("unexpected position")
    error.__context__ = OSError(errno.EFBIG, "File too large")
    cause = files.os_error_behind(error)
    assert cause.errno == errno.EFBIG
    assert files.os_error_behind(RuntimeError("alone")) is None


def test_json_is_read_as_written_and_an_absent_file_is_empty(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "a.json"
    assert files.read_json(file) == {}
    files.write_json(file, {"a": [1, None]})
    assert files.read_json(file) == {"a": [1, None]}
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_a_json_file_never_contains_a_number_that_json_has_not(tmp_path: Path, number: float) -> None:
    file = tmp_path / "a.json"
    files.write_json(file, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(file, {"a": [{"b": number}]})
    assert files.read_json(file) == {"a": 1}
    files.write_json(file, files.finite_or_null({"a": [{"b": number}, (1.5, number)], "c": "inf"}))
    assert files.read_json(file) == {"a": [{"b": None}, [1.5, None]], "c": "inf"}


def test_infinity_and_nan_of_earlier_versions_are_read_as_null(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": Infinity, "b": [NaN, -Infinity], "c": "NaN"}')
    (tmp_path / "a.jsonl").write_text('{"a": NaN}\n')
    assert files.read_json(tmp_path / "a.json") == {"a": None, "b": [None, None], "c": "NaN"}
    assert files.read_jsonl(tmp_path / "a.jsonl") == [{"a": None}]


def test_a_partial_last_line_is_skipped(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    assert files.read_jsonl(file) == []
    file.write_text('{"a": 1}\n{"a')
    assert files.read_jsonl(file) == [{"a": 1}]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")

    def fail() -> None:
        with files.atomic_write(file) as temporary:
            temporary.write_text("new")
            raise RuntimeError("unexpected")

    with pytest.raises(RuntimeError, match="unexpected"):
        fail()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
