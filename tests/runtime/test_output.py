"""Output whose reader has ended."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from brats_ablate.runtime.output import discard_unread_output


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
