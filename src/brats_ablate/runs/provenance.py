"""The version of the code that produced a result."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from brats_ablate.runtime.version import package_version


def code_version() -> str:
    """Return the package's version, in a checkout with its commit and a mark if files differ from it.

    The version of a checkout is that of its last release, as its commit says the rest.
    """
    installed = package_version()
    checkout = Path(__file__).resolve().parents[3]
    if not (checkout / "pyproject.toml").exists():
        return installed
    # Unlike `describe --dirty`, these take no lock on the index, which a killed git would leave behind.
    git = ["git", "--no-optional-locks", "-C", str(checkout)]
    commands = (["describe", "--always", "--exclude=*"], ["status", "--porcelain", "--untracked-files=no"])  # no tags
    try:
        commit, changed = (
            subprocess.run([*git, *command], capture_output=True, text=True, timeout=10, check=True).stdout.strip()
            for command in commands
        )
    except (OSError, subprocess.SubprocessError):
        return installed
    release = re.split(r"\.dev|\+", installed, maxsplit=1)[0]
    return f"{release}+{commit}{'-dirty' if changed else ''}"


def of_all_starts(recorded: object, current: str) -> str:
    """Return what earlier starts of a run `recorded`, if any did, and this one's version: `1.0; 1.1` if it changed."""
    return "; ".join(dict.fromkeys([*(str(recorded).split("; ") if recorded else ()), current]))
