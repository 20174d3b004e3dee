"""Labels, channels, spacing and folds of a job are those of the prepared data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig
from schemes import GLI2024

from brats_ablate.data.store import CaseStore, Cohort
from brats_ablate.errors import ConfigError
from brats_ablate.jobs.prepared_data import folds_and_patients, use_prepared_data
from brats_ablate.jobs.train import data_changed_notice
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.launch.sweep import run_directory

Composed = Callable[..., DictConfig]


def rewrite(cfg: DictConfig, **changes: object) -> None:
    """Change what job=prepare recorded in cohort.json, in a copy: all tests share the prepared cohort."""
    prepared = Path(cfg.paths.prepared)
    shared = prepared.resolve()
    prepared.unlink()
    shutil.copytree(shared, prepared)
    file = prepared / "cohort.json"
    head = json.loads(file.read_text()) | changes
    cohort = Cohort(
        head["name"], head["layout"], LabelScheme.recorded(head), head["modalities"], head["cases"], head.get("spacing")
    )
    file.write_text(json.dumps(head | {"fingerprint": cohort.fingerprint}))


def test_nothing_changes_where_command_and_data_agree(composed: Composed) -> None:
    cfg, untouched = composed("+experiment=ds"), composed("+experiment=ds")
    use_prepared_data(cfg, ["labels=brats2021", "data.n_folds=3"])
    assert cfg == untouched


def test_what_was_prepared_replaces_the_defaults(composed: Composed) -> None:
    cfg = composed("data.n_folds=5", "data.fold_seed=1", "data/layout=brats2023")
    rewrite(cfg, labels=GLI2024.to_dict(), modalities=["t1ce", "adc"], spacing=[1.0, 1.0, 2.0])
    use_prepared_data(cfg, ["+experiment=ds"])
    store = CaseStore(Path(cfg.paths.prepared))
    assert (cfg.data.n_folds, cfg.data.fold_seed) == (len(store.folds), 12345)
    assert list(cfg.labels.regions) == ["WT", "TC", "ET", "RC"]
    assert LabelScheme.of_run({"labels": dict(cfg.labels)}).key == store.labels.key == GLI2024.key
    assert cfg.data.layout.modalities == {"t1ce": ["t1c"], "adc": ["adc"]}
    assert cfg.data.spacing == store.spacing == [1.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("data.n_folds=4", r"data\.n_folds=4, but .* was prepared with 3; leave it out"),
        ("data.fold_seed=1", r"data\.fold_seed=1, but .* was prepared with 12345"),
        ("data.spacing=[2,2,2]", r"data\.spacing=\[2, 2, 2\], but .* was prepared with None"),
        ("labels=msd", r"was prepared with labels=brats2021 ED 2, NCR 1, ET 4, unlike the labels of this command"),
        ("labels.tissues.ET=3", r"was prepared with labels=brats2021 ED 2, NCR 1, ET 4"),
    ],
)
def test_a_command_that_contradicts_the_data_is_refused(composed: Composed, override: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        use_prepared_data(composed(override), [override])


def test_preparing_again_may_change_everything(composed: Composed) -> None:
    cfg = composed("job=prepare", "data.n_folds=4", "labels=msd")
    use_prepared_data(cfg, ["job=prepare", "data.n_folds=4", "labels=msd"])
    assert (cfg.data.n_folds, cfg.labels.name) == (4, "msd")


def test_without_prepared_data_the_command_decides(composed: Composed, tmp_path: Path) -> None:
    cfg = composed(f"paths.prepared={tmp_path}", "data.n_folds=4")
    use_prepared_data(cfg, ["data.n_folds=4"])
    assert cfg.data.n_folds == 4


def test_a_finished_run_on_other_data_says_so(composed: Composed, finished_run: Callable[..., object]) -> None:
    finished_run("+experiment=baseline", "fold=0")
    cfg = composed("+experiment=baseline", "fold=0")
    assert data_changed_notice(cfg, run_directory(cfg)) is None
    rewrite(cfg, labels=GLI2024.to_dict())
    notice = data_changed_notice(cfg, run_directory(cfg))
    assert "baseline fold=0 lr=0.01 seed=0: finished on different data than what is prepared now" in notice


def test_folds_and_patients_are_those_of_the_prepared_cases(
    phantom_work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], composed: Composed
) -> None:
    prepared = phantom_work / "phantom" / "prepared"
    cfg = composed("data=phantom", f"paths.prepared={prepared}")
    folds, _ = folds_and_patients(cfg)
    assert sorted(folds) == list(CaseStore(prepared).case_ids)
    cfg = composed("data=phantom", f"paths.prepared={tmp_path}", r"data.patient='(\w+)_'")
    folds, patient_of = folds_and_patients(cfg)
    assert (folds, patient_of("A_1"), patient_of("B")) == ({}, "A", "B")  # nothing is prepared
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["cohort.json", "folds.json", "records.jsonl"])
def test_damaged_data_leave_the_runs_to_be_shown(
    phantom_work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, composed: Composed
) -> None:
    prepared = phantom_work / "phantom" / "prepared"
    cfg = composed("data=phantom", f"paths.prepared={tmp_path}")
    for file in ("cohort.json", "folds.json", "records.jsonl"):
        shutil.copy(prepared / file, tmp_path)
    for content in ("", "[1, }", "[1]\n", None):
        (tmp_path / name).write_text(content) if content is not None else (tmp_path / name).unlink()
        assert folds_and_patients(cfg)[0] == {}
        (sentence,) = capsys.readouterr().err.splitlines()
        assert sentence.startswith(f"brats-ablate: {tmp_path / name} ")
        assert "until then, labels and folds are those of this command" in sentence
