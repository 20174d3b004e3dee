"""The version of the code that produced a result."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import brats_ablate


def code_version() -> str:
    """Return the package's version, in a checkout with its commit and a mark if files differ from it.

    The version of a checkout is that of its last release, as its commit says the rest.
    """
    package_version = brats_ablate.__version__
    checkout = Path(__file__).resolve().parents[3]
    if not (checkout / "pyproject.toml").exists():
        return package_version
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--exclude=*"]  # no tags
    try:
        described = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return package_version
    release = re.split(r"\.dev|\+", package_version, maxsplit=1)[0]
    return f"{release}+{described}"
