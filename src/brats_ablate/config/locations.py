"""Where `conf/`, `experiments/` and `sweeps/` lie: at the top of a checkout, inside the package in a wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_CHECKOUT = _PACKAGE.parents[1]


def resource_dir(name: str) -> Path:
    """The folder `name` (conf, experiments or sweeps) that belongs to this installation."""
    packaged = _PACKAGE / name
    return packaged if packaged.is_dir() else _CHECKOUT / name
