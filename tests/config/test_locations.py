from __future__ import annotations

from pathlib import Path

import pytest

from brats_ablate.config import locations


@pytest.mark.parametrize("name", ["conf", "experiments", "sweeps"])
def test_the_checkouts_folders_are_found(name: str) -> None:
    assert list(locations.resource_dir(name).glob("*.yaml"))


def test_a_folder_inside_the_package_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locations, "_PACKAGE", tmp_path / "site-packages" / "brats_ablate")
    monkeypatch.setattr(locations, "_CHECKOUT", tmp_path)
    assert locations.resource_dir("conf") == tmp_path / "conf"
    (tmp_path / "site-packages" / "brats_ablate" / "conf").mkdir(parents=True)
    assert locations.resource_dir("conf") == tmp_path / "site-packages" / "brats_ablate" / "conf"
