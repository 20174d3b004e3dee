"""Output whose reader has ended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from brats_ablate.runtime.output import is_read, print_line


@pytest.mark.parametrize("open_ends", [os.pipe, os.openpty])
def test_an_ended_reader_is_recognized(open_ends: Callable[[], tuple[int, int]]) -> None:
    reader, writer = open_ends()
    assert is_read(writer)
    os.close(reader)
    assert not is_read(writer)
    os.close(writer)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_process_outlives_what_reads_its_output(stream: str, tmp_path: Path) -> None:
    """Also rich's consoles, which would end it."""
    reader, writer = os.pipe()
    os.close(reader)
    code = f"""
import sys
from rich.console import Console
from brats_ablate.runtime.output import outlive_readers
outlive_readers()
print("a", file=sys.{stream}, flush=True)
Console(file=sys.{stream}).print("b")
open("end", "w").close()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, **{stream: writer}, check=False)
    os.close(writer)
    assert done.returncode == 0
    assert (tmp_path / "end").exists()


def test_a_full_disk_is_no_ended_reader() -> None:
    code = "from brats_ablate.runtime.output import outlive_readers\noutlive_readers(); print('a')"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode != 0
    assert "No space left on device" in done.stderr


def test_a_line_for_which_the_disk_has_no_space_is_left_out() -> None:
    code = "import os\nfrom brats_ablate.runtime.output import print_line\nprint_line('a'); os._exit(3)"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "")


def test_lines_with_a_reader_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_line("a")
    assert capsys.readouterr().out == "a\n"
