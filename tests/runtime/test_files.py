from __future__ import annotations

import errno
import os

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
        (errno.EACCES, "check path and rights"),
    ],
)
def test_each_refusal_is_told_with_its_file_and_remedy(number: int, remedy: str) -> None:
    error = OSError(number, os.strerror(number), "/runs/last.pt")
    assert files.os_error_message(error) == f"{os.strerror(number)}: /runs/last.pt; {remedy}"


def test_a_file_that_python_does_not_name_is_named_where_it_is_known() -> None:
    error = OSError(errno.EIO, "Input/output error")  # as from writing to an open file
    assert "a file of this run" in str(files.os_error_message(error))
    assert "/runs/last.pt" in str(files.os_error_message(files.with_filename(error, "/runs/last.pt")))


def test_errors_that_are_not_of_a_file_have_no_sentence() -> None:
    assert files.os_error_message(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")) is None
    assert files.os_error_message(OSError("a library's own words")) is None


def test_the_file_systems_error_is_found_behind_a_librarys() -> None:
    try:
        try:
            raise OSError(errno.EFBIG, "File too large")
        except OSError:
            raise RuntimeError("unexpected pos")  # noqa: B904 - as libraries do
    except RuntimeError as error:
        found = files.os_error_behind(error)
    assert found is not None
    assert found.errno == errno.EFBIG
    assert files.os_error_behind(RuntimeError("alone")) is None
