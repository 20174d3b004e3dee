"""The version of the code that produced a result."""

from __future__ import annotations

import subprocess
from pathlib import Path

import brats_ablate


def code_version() -> str:
    """Return the package version, in a checkout with its commit and a mark if files differ from it."""
    here = Path(__file__).resolve()
    if not (here.parents[3] / "pyproject.toml").exists():
        return brats_ablate.__version__
    command = ["git", "-C", str(here.parents[3]), "describe", "--always", "--dirty"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return brats_ablate.__version__
    return f"{brats_ablate.__version__}+{described}"
