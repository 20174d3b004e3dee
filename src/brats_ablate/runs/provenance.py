"""The version of the code that produced a result."""

from __future__ import annotations

import subprocess
from pathlib import Path


def code_version(package_version: str) -> str:
    """Return the package's version, in a checkout with its commit and a mark if files differ from it."""
    checkout = Path(__file__).resolve().parents[3]
    if not (checkout / "pyproject.toml").exists():
        return package_version
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return package_version
    return f"{package_version}+{described}"
