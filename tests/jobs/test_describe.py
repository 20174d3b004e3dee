"""job=describe: the paper's parameter counts, the differences it names, and what it refuses."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from composition import composed

from brats_ablate.errors import ConfigError
from brats_ablate.jobs.describe import changes, compose, describe, run

JOB = {"timing_shape": (32, 32, 64), "timing_width": 0.0625, "repeats": 1}


@pytest.mark.slow
def test_parameters_are_the_papers() -> None:
    description = describe(compose("ds_deeper_channels_onehot"), None, shared_overrides=True)
    assert round(description.counts.parameters / 1e6, 2) == 50.84


@pytest.mark.slow
def test_changes_name_the_exchanged_part_by_its_class() -> None:
    assert list(changes(compose("attention"), compose("baseline"))) == ["model.gate=AttentionGate"]
    assert list(changes(compose("unetr"), compose("baseline"))) == ["model=UNETR"]
    assert list(changes(composed("model=dynunet"), composed())) == ["model=DynUNet"]
    assert list(changes(compose("ds_onehot"), compose("ds"))) == ["inputs=WithForegroundMask"]
    assert list(changes(compose("baseline"), compose("baseline"))) == []


def test_changes_of_values_name_key_and_value() -> None:
    other = composed("+experiment=baseline", "encoder.width=0.5", "trainer.epochs=7")
    assert list(changes(other, compose("baseline"))) == ["encoder.width=0.5", "trainer.epochs=7"]


def test_the_current_configuration_is_compared_with_the_plain_baseline() -> None:
    description = describe(composed("encoder.width=0.25", "supervision=deep"), None, shared_overrides=False)
    assert description.baseline == "baseline"
    assert description.changes == ("encoder.width=0.25", "supervision=DeepSupervision")


@pytest.mark.slow
def test_writes_markdown_csv_and_pictures_with_timings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = composed("encoder.width=0.0625")
    run(cfg, experiments=["baseline", "ds"], output=str(tmp_path / "out"), measure=True, **JOB)
    rows = list(csv.DictReader((tmp_path / "out/variants.csv").read_text().splitlines()))
    assert [r["experiment"] for r in rows] == ["baseline", "ds"]
    assert all(float(r["step_ratio"]) > 0 for r in rows)
    assert rows[1]["differs"] == "supervision=DeepSupervision"
    text = (tmp_path / "out/variants.md").read_text()
    assert "patch 32×32×64, encoder.width=0.0625" in text
    assert "### ds" in text
    shown = re.findall(r"!\[.*\]\((.*)\)", text)
    assert shown == ["images/baseline.svg", "images/ds.svg"]
    assert all(ElementTree.parse(tmp_path / "out" / file).getroot().tag.endswith("svg") for file in shown)
    assert "supervision=DeepSupervision" in capsys.readouterr().out


def test_an_unknown_experiment_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match=r"atention is not an experiment; did you mean attention\?"):
        run(composed(), experiments=["atention"], output=None, measure=False, **JOB)


@pytest.mark.slow
def test_a_timed_patch_that_does_not_suit_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match="not divisible by 64"):
        run(composed(), experiments=["ds_deeper"], output=None, measure=True, **JOB)
