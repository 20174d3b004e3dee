from __future__ import annotations

import io
import time
from functools import partial

import pytest
import rich.console

from brats_ablate.runtime.progress import ProgressBar


def test_a_log_has_a_line_every_ten_seconds_and_one_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 100, 4))  # seconds at the start and at each step
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with ProgressBar("cases", 7) as progress:
        for i in range(7):
            progress.advance("" if i < 5 else f"case {i}")
    assert capsys.readouterr().out.splitlines() == [
        "cases: 3/7, 16 s left",
        "cases: 6/7, case 5, 4 s left",
        "cases: 7/7, case 6, 0 s left",
    ]


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    screen = io.StringIO()
    terminal = partial(rich.console.Console, file=screen, force_terminal=True, width=80)
    monkeypatch.setattr(rich.console, "Console", terminal)
    with ProgressBar("cases", 2) as progress:
        progress.advance()
        progress.advance("a note")
    assert "cases a note" in screen.getvalue()
    assert "2/2" in screen.getvalue()
    with ProgressBar("none", 0):
        pass
    assert "none" not in screen.getvalue()
    assert capsys.readouterr().out == ""
