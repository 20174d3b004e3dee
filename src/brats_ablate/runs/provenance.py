"""Which code made a result: the commit of a checkout, or the version of an installed package."""

from __future__ import annotations

import subprocess
from pathlib import Path

import brats_ablate


def code_version() -> str:
    """`git describe` of the checkout this package lies in, marked when it was changed since; else the version."""
    here = Path(__file__).resolve()
    if not (here.parents[3] / "pyproject.toml").exists():
        return brats_ablate.__version__
    command = ["git", "-C", str(here.parents[3]), "describe", "--always", "--dirty"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return brats_ablate.__version__
    return f"{brats_ablate.__version__}+{described}"
