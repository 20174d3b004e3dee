from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import pytest

import brats_ablate
from brats_ablate.runtime import version as module


def test_the_version_is_that_of_the_installed_package() -> None:
    assert brats_ablate.__version__ == module.package_version() == version("brats-ablate")
    with pytest.raises(AttributeError, match="has no attribute '__versions__'"):
        brats_ablate.__versions__  # noqa: B018


def test_a_folder_on_the_path_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_installed(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(module, "version", not_installed)
    assert brats_ablate.__version__ == "0+unknown"
