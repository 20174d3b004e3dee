"""Output whose reader has ended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

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


def test_lines_with_a_reader_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_line("a")
    assert capsys.readouterr().out == "a\n"
