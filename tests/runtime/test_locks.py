from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from brats_ablate.runtime.locks import lock_file, try_lock


def test_one_lock_at_a_time(tmp_path: Path) -> None:
    with lock_file(tmp_path / "lock") as first, lock_file(tmp_path / "lock") as second:
        assert try_lock(first)
        assert not try_lock(second)
        assert not try_lock(second, shared=True)
    with lock_file(tmp_path / "lock") as third:
        assert try_lock(third)


def test_the_umask_decides_who_else_can_lock(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        with lock_file(tmp_path / "lock"):
            assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o664
    finally:
        os.umask(before)


def test_a_link_is_refused_and_its_target_kept(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("data")
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="lock") as error, lock_file(tmp_path / "lock"):
        pass
    assert error.value.errno == errno.ELOOP
    assert (tmp_path / "precious").read_text() == "data"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    """No such file system can be mounted here."""

    def unsupported(descriptor: int, kind: int) -> None:
        raise OSError(number, "not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with lock_file(tmp_path / "lock") as stream:
        assert try_lock(stream)
        assert try_lock(stream)
    assert capsys.readouterr().err.count(f"the file system of {tmp_path} has no locks") == 1


def test_another_failure_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(descriptor: int, kind: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", failing)
    with lock_file(tmp_path / "lock") as stream, pytest.raises(OSError, match="Input/output error") as error:
        try_lock(stream)
    assert error.value.filename == str(tmp_path / "lock")
