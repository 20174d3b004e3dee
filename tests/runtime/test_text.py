from __future__ import annotations

import pytest

from brats_ablate.runtime.text import align, first_line, format_duration, format_size, is_plain_name, printable, suggest


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59.9, "59s"), (60, "1m"), (7800, "2h10m"), (3600 * 76, "3d04h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_a_similar_word_is_suggested_else_all_are_listed() -> None:
    assert suggest("epocs", ["epochs", "lr"], prefix="trainer.") == "did you mean trainer.epochs?"
    assert suggest("zzz", ["a", "b"], otherwise="choose from") == "choose from: a, b"
    assert suggest("zzz", []) == "known are: none"


def test_columns_are_aligned_without_trailing_blanks() -> None:
    assert align([["a", "long"], ["bbb", ""]]) == "a    long\nbbb"
    assert align([]) == ""


@pytest.mark.parametrize("name", ["ds", "ds_deeper-1", "Fold 0 (lr 7e-4)", "näme", "a.b"])
def test_plain_names(name: str) -> None:
    assert is_plain_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/x", "a/b", ".hidden", " x", "x\n", "a\x1b[2Jb", "a\x00b"])
def test_names_that_lead_elsewhere(name: str) -> None:
    assert not is_plain_name(name)


def test_control_characters_are_left_out() -> None:
    assert printable("out of memory\x1b[2J\x1b]0;title\x07\r\n\tnext") == "out of memory[2J]0;title\n\tnext"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (5 * 2**30, "5.0 GiB"),
        (2**51, "2,048.0 TiB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("\n bad shape:\n  (1, 2)"), "bad shape"),
        (AssertionError(), "AssertionError"),
        (KeyError(" \n"), "' \\n'"),
        (OSError(" "), "OSError"),
        (OSError(":"), "OSError"),
    ],
)
def test_the_first_line_of_an_error_is_never_empty(error: Exception, line: str) -> None:
    assert first_line(error) == line
