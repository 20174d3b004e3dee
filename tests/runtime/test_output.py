"""Output whose reader has ended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from brats_ablate.runtime.output import discard_unread_output, print_line


@pytest.mark.parametrize("open_ends", [os.pipe, os.openpty])
def test_only_output_without_a_reader_is_discarded(open_ends: Callable[[], tuple[int, int]]) -> None:
    reader, writer = open_ends()
    discard_unread_output((writer,))
    os.write(writer, b"a\n")
    assert os.read(reader, 10).strip() == b"a"
    os.close(reader)
    with pytest.raises(OSError, match=r"Broken pipe|Input/output error"):
        os.write(writer, b"b\n")
    discard_unread_output((writer,))
    os.write(writer, b"c\n")
    os.close(writer)


def test_lines_without_a_reader_are_left_out() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = "from brats_ablate.runtime.output import print_line\nfor _ in range(3): print_line('a')"
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


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


def test_lines_with_a_reader_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_line("a")
    assert capsys.readouterr().out == "a\n"
