from __future__ import annotations

from dataclasses import asdict

import pytest
from omegaconf import OmegaConf
from schemes import BRATS2021, LAYOUTS

from brats_ablate.data.store import CaseStore
from brats_ablate.errors import ConfigError, DataError
from brats_ablate.jobs.prepare import run


@pytest.fixture
def phantom_cfg(tmp_path):
    phantom = {"_target_": "brats_ablate.data.phantom.PhantomCohort", "cases": 5, "shape": [32, 30, 24], "seed": 1}
    data = {"name": "phantom", "layout": asdict(LAYOUTS["brats2021"]), "raw": str(tmp_path / "raw"), "list": None}
    data |= {"background": "auto", "trust_affine_of": None, "spacing": None, "patient": None}
    labels = {"_target_": "brats_ablate.labels.scheme.LabelScheme", **BRATS2021.to_dict()}
    data |= {"n_folds": 5, "fold_seed": 12345, "phantom": phantom}
    return OmegaConf.create({"labels": labels, "data": data, "paths": {"prepared": str(tmp_path / "prepared")}})


def _run(cfg, workers=1):
    run(cfg, workers=workers, require_segmentation=True, trust_convention=False)


def test_writes_and_prepares_the_phantom_and_prints_the_next_command(phantom_cfg, tmp_path, capsys):
    _run(phantom_cfg)
    first = capsys.readouterr().out
    assert "5 cases in" in first
    assert "next: python -m brats_ablate +experiment=baseline data=phantom trainer=demo fold=0,1,2,3,4 -m" in first
    assert len(CaseStore(tmp_path / "prepared").case_ids) == 5
    _run(phantom_cfg)
    printed = capsys.readouterr().out
    assert "0 prepared" in printed
    assert "5 already up to date, skipped" in printed


def test_invalid_case_is_printed_and_fails_the_job(phantom_cfg, tmp_path, capsys):
    _run(phantom_cfg)
    phantom_cfg.data.phantom = None
    (tmp_path / "raw/BraTS2021_00002/BraTS2021_00002_t2.nii.gz").write_bytes(b"\x1f\x8bnothing")
    with pytest.raises(DataError, match=r"1 of 5 cases are invalid, for the reasons in .*problems\.csv; fix them"):
        _run(phantom_cfg)
    printed = capsys.readouterr().out
    assert "BraTS2021_00002" in printed
    assert "Invalid cases" in printed
    assert len(CaseStore(tmp_path / "prepared").case_ids) == 4


def test_raw_folder_must_be_given(phantom_cfg):
    phantom_cfg.data.raw = None
    with pytest.raises(ConfigError, match=r"data\.raw is not set"):
        _run(phantom_cfg)
