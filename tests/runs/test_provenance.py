"""The version of the code, of a checkout that is not written to."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from brats_ablate.runs import provenance
from brats_ablate.runs.provenance import code_version

pytestmark = pytest.mark.slow


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one commit, whose code is asked for its version."""
    monkeypatch.setattr(provenance, "package_version", lambda: "0.2.dev3+g12ab")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "src" / "brats_ablate" / "runs" / "provenance.py"))
    (tmp_path / "pyproject.toml").touch()
    identity = ("-c", "user.name=x", "-c", "user.email=x@localhost", "-c", "commit.gpgsign=false")
    for command in (("init", "-q"), ("add", "pyproject.toml"), (*identity, "commit", "-q", "-m", "first")):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    return tmp_path


def test_a_checkout_has_its_release_its_commit_and_a_mark_if_files_differ(checkout: Path) -> None:
    commit = subprocess.run(["git", "-C", checkout, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    expected = f"0.2+{commit.stdout.strip()}"
    assert code_version() == expected
    (checkout / "pyproject.toml").write_text("changed")
    assert code_version() == f"{expected}-dirty"
    subprocess.run(["git", "-C", checkout, "add", "pyproject.toml"], check=True)
    assert code_version() == f"{expected}-dirty"


def test_no_checkout_has_the_version_of_the_package(checkout: Path) -> None:
    (checkout / "pyproject.toml").unlink()
    assert code_version() == "0.2.dev3+g12ab"


def test_the_index_is_neither_written_nor_locked(checkout: Path) -> None:
    """A git that is killed while it has the lock, as by a limit of file sizes, leaves it to the user's own git."""
    index = checkout / ".git" / "index"
    os.utime(checkout / "pyproject.toml", (1, 1))  # what git would note in the index
    before = index.stat().st_mtime_ns
    assert not code_version().endswith("-dirty")
    assert index.stat().st_mtime_ns == before
