"""The version of the installed package, which Git's tags give."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def package_version() -> str:
    """Return the version of the installed package; `0+unknown` if it is a folder `src` on the path."""
    try:
        return version("brats-ablate")
    except PackageNotFoundError:
        return "0+unknown"
