from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _numpy_inf(monkeypatch: pytest.MonkeyPatch) -> None:
    """surface-distance 0.1 still writes np.Inf, which numpy 2 dropped."""
    monkeypatch.setattr(np, "Inf", np.inf, raising=False)
