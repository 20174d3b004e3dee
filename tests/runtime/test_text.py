from __future__ import annotations

import pytest

from brats_ablate.runtime.text import align, format_duration, suggest


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
