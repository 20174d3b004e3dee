"""The command line as a user writes it and as Hydra reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from brats_ablate.config import arguments
from brats_ablate.config.locations import resource_dir


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("init.checkpoint=a/fold=${fold}/x", "init.checkpoint='a/fold=${fold}/x'"),
        ("init.checkpoint=null,a/fold=0,b.pt", "init.checkpoint=null,'a/fold=0',b.pt"),
        ("init.checkpoint='a/fold=0'", "init.checkpoint='a/fold=0'"),
        ("init.checkpoint=b.pt", "init.checkpoint=b.pt"),
        ("job.run=a/fold=0", "job.run='a/fold=0'"),
        ("name=a=b", "name=a=b"),
        ("data.raw=~/BraTS 2021", "data.raw='/home/me/BraTS 2021'"),
        ("data.raw=/a,b/c=d", "data.raw='/a,b/c=d'"),
        ("data.raw=/plain/${name}", "data.raw=/plain/${name}"),
        ("paths.work=~/x", "paths.work=/home/me/x"),
        ("job.runs=[a/fold=1/lr=0.005, ds,${name}]", "job.runs=['a/fold=1/lr=0.005',ds,${name}]"),
        ("job.runs=[]", "job.runs=[]"),
        ("job.runs=['a/fold=1',ds]", "job.runs=['a/fold=1',ds]"),
        ("job.methods=[~/a b,c.csv]", "job.methods=['/home/me/a b',c.csv]"),
        ("job.methods={mine: c.csv}", "job.methods={mine: c.csv}"),
        ("job.source=/a/O'Brien (1)", r"job.source='/a/O\'Brien (1)'"),
    ],
)
def test_a_path_is_a_value_without_quotes(written: str, read: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    quoted = arguments.quoted_paths(["-m", written])
    assert quoted == ["-m", read]
    assert arguments.quoted_paths(quoted) == quoted
    if written.startswith(("data", "job.run=", "job.source")):  # Hydra reads what was written
        value = OverridesParser.create().parse_override(read).value()
        assert value == written.partition("=")[2].replace("~", "/home/me")


def test_hydra_reads_the_paths_of_a_list_as_written() -> None:
    written = "job.runs=[work/hosp/runs/ds/fold=1/lr=0.005/seed=0, ds]"
    value = OverridesParser.create().parse_override(arguments.quoted_paths([written])[0]).value()
    assert value == ["work/hosp/runs/ds/fold=1/lr=0.005/seed=0", "ds"]


def test_multirun_may_stand_anywhere() -> None:
    assert arguments.flags_first(["+experiment=ds", "-m", "fold=0,1"]) == ["-m", "+experiment=ds", "fold=0,1"]
    assert arguments.flags_first(["fold=0,1", "--multirun"]) == ["--multirun", "fold=0,1"]
    assert arguments.flags_first(["fold=0"]) == ["fold=0"]
    assert arguments.flags_first(["model=unet", "--cfg", "job", "--resolve"]) == [
        "--cfg",
        "job",
        "--resolve",
        "model=unet",
    ]
    swept = ["data=phantom", "-cd", "sweeps", "-cn=demo", "job=status"]
    assert arguments.flags_first(swept) == ["-cd", "sweeps", "-cn=demo", "data=phantom", "job=status"]


def test_a_flag_has_its_value_after_an_equals_sign_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spaced = arguments.as_hydra_reads(["-cd", "sweeps", "-cn", "table2", "fold=0"])
    assert arguments.as_hydra_reads(["-cd=sweeps", "--config-name=table2", "fold=0"]) == [
        *spaced[:2], "--config-name", *spaced[3:],
    ]  # fmt: skip
    assert Path(spaced[1]).is_absolute()


def test_keys_of_version_0_1_are_read_as_options_with_a_notice(capsys: pytest.CaptureFixture[str]) -> None:
    line = [
        "job=x",
        "data.convention=brats2023",
        "data.layout=brats2018",
        "data.raw=data.layout=x",
        "job.convention=msd",
        "+job.metrics.extra.x=job.metrics.y",
        "job.metrics=[dice]",
        "trainer.validate_every=5,10",
    ]
    read = ["job=x", "labels=brats2023", "data/layout=brats2018", "data.raw=data.layout=x", "job.prediction_labels=msd"]
    read += ["+metrics.extra.x=job.metrics.y", "job.metrics=[dice]", "validation.every=5,10"]
    assert arguments.current_keys(line) == read
    assert capsys.readouterr().err.splitlines() == [
        "brats-ablate: data.convention is an option now; reading data.convention=brats2023 as labels=brats2023",
        "brats-ablate: data.layout is an option now; reading data.layout=brats2018 as data/layout=brats2018",
        "brats-ablate: job.convention is an option now; reading job.convention=msd as job.prediction_labels=msd",
        "brats-ablate: job.metrics.… is metrics.… now; reading +job.metrics.extra.x=job.metrics.y so",
        "brats-ablate: trainer.validate_every is validation.every now; reading trainer.validate_every=5,10 as "
        "validation.every=5,10",
    ]


def test_a_folder_conf_in_the_current_directory_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert arguments.own_options(["fold=0"]) == ["fold=0"]
    (tmp_path / "conf").mkdir()
    assert arguments.own_options(["fold=0"]) == ["-cd", "conf", "fold=0"]
    assert arguments.own_options(["-cd", "sweeps", "fold=0"]) == ["-cd", "sweeps", "fold=0"]
    assert arguments.own_options(["--config-dir=x"]) == ["--config-dir=x"]
    monkeypatch.chdir(resource_dir("conf").parent)
    assert arguments.own_options(["fold=0"]) == ["fold=0"], "the installation's own folder"


def test_the_installations_sweeps_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    installed = arguments.packaged_sweeps(["-cd", "sweeps", "-cn", "table2"])
    assert (Path(installed[1]) / "table2.yaml").is_file()
    assert installed[2:] == ["-cn", "table2"]
    (tmp_path / "sweeps").mkdir()
    assert arguments.packaged_sweeps(["-cd", "sweeps"]) == ["-cd", "sweeps"]
    assert arguments.packaged_sweeps(["-cd", "sweeps", "-cn", "mine"]) == ["-cd", "sweeps", "-cn", "mine"]
    assert arguments.packaged_sweeps(["-cd", "sweeps", "-cn", "table2"]) == installed, "job=plan made the folder"
    (tmp_path / "sweeps" / "table2.yaml").touch()
    assert arguments.packaged_sweeps(["-cd", "sweeps", "-cn", "table2"]) == ["-cd", "sweeps", "-cn", "table2"]


def test_any_argument_of_a_network_can_be_set_without_a_plus() -> None:
    given = [
        "model.network.depth=3",
        "model.network={_target_:mine.Net}",
        "++model.network.a=1",
        "model.networks=1",
        "-m",
    ]
    assert arguments.open_keys(given) == [f"++{given[0]}", f"++{given[1]}", *given[2:]]
