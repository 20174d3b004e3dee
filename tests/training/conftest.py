from __future__ import annotations

import pytest

from brats_ablate.runtime import signals


@pytest.fixture(autouse=True)
def no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train in this process without taking its signals; no stop is requested unless a test does."""
    monkeypatch.setattr(signals, "install_handlers", lambda: None)
    monkeypatch.setattr(signals, "stop_requested", lambda: False)
