"""The command line: one sentence for each mistake, and quick output without importing torch."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from scaffolding import run_at, write_run

from brats_ablate import __main__ as entry
from brats_ablate.config.locations import resource_dir

PREPARE = "run `python -m brats_ablate job=prepare data=brats21 data.raw=<folder of the data set>` first"


@pytest.fixture
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRATS_ABLATE_WORK", str(tmp_path / "work"))
    monkeypatch.setenv("HYDRA_FULL_ERROR", "")  # the program sets these
    monkeypatch.setenv("BRATS_ABLATE_CONFIG_DIR", "")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    GlobalHydra.instance().clear()
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)  # and restore it: other tests compose without a command
    return tmp_path


def typed(line: list[str], monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    """The exit code of `brats-ablate LINE`, run in this process."""
    monkeypatch.setattr(sys, "argv", ["brats-ablate", *line])
    with pytest.raises(SystemExit) as left:
        entry.main()
    return left.value.code


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (["+experiment=dss"], "experiment=dss is not an option; did you mean ds?"),
        (["+experiment="], "experiment= has no value; choose one of as_released, attention, "),
        (["+experiment=baseline,ds"], "+experiment=baseline,ds has several values; add -m to run each of them"),
        (["fold=range(0,5)"], "fold=range(0,5) has several values; add -m to run each of them"),
        (["+experiment=[baseline,ds]"], "+experiment=[…] merges experiments under the last one's name; set "),
        (["hydra/launcher=slurm"], "hydra/launcher=slurm applies to sweeps only; add -m"),
        (["fold=7"], "fold=7 does not exist; choose 0 to 4 (data.n_folds=5)"),
        (["fold=0,7", "-m"], "fold=7 does not exist; choose 0 to 4 (data.n_folds=5) (in: fold=7)"),
        (["+experiment=ds", "-m", "lr=0,1"], "lr=0 must be a positive number; the paper's are 5e-4, 7e-4, 9e-4 (in: "),
        (["job=trian"], "job=trian is not an option; did you mean train?"),
        (["job="], "job= has no value; choose one of calibration, "),
        (["-cn", "table2"], "-cn table2 needs its folder; add -cd sweeps"),
        (["-cn", "nothing"], "-cn nothing names no configuration; give its folder too, as in -cd sweeps -cn table2"),
        (["-cd", "sweeps", "-cn", "tabel2"], "-cn tabel2 names no configuration; did you mean table2?"),
        (["-cd", "nowhere"], "nowhere; give -cd an existing folder"),
        (["patches.shape=[96,96,96]", "encoder=depth7"], "is not divisible by 64, as UNet's 7 stages need"),
        (["fold=0"], PREPARE),
        (["trainer=gpu"], "trainer=gpu is not an option; a GPU is used without one, and trainer=cpu is"),
        (["epochs=3"], "epochs is not a known key; use trainer.epochs=3"),
        (["+epochs=3"], "epochs is not a known key; use trainer.epochs="),
        (["folds=0"], "folds is not a known key; use fold=0"),
        (["experiments=ds"], "experiments is not a known key; use +experiment=ds"),
        (["+experiments=ds"], "experiments is not a known key; use +experiment="),
        (["train"], "train has no value; write job=train"),
        (["ds"], "ds has no value; write +experiment=ds"),
        (["--fold=0"], "--fold=0 is not a flag; write options without dashes, as fold=0"),
        (["data=/data/BraTS"], "data= is the kind of data set, its folder is data.raw=/data/BraTS"),
        (["data=BraTS2021"], "data=BraTS2021 is not an option; did you mean brats21?"),
        (["name=a=b"], """quote the value for the program and for the shell: "name='a=b'\""""),
        (["fold=glob(*)", "-m"], "fold=glob(*) matches no option; `--help` lists the options of each group"),
        (["+experiment=glob(dropbox*)", "fold=0", "-m"], "+experiment=glob(dropbox*) matches no option; `--help` "),
        (["job=describe", "job.measure=true", "job.repeats=0"], "job.repeats=0 must be at least 1"),
        (["fold=0,1", "hydra.sweeper.max_batch_size=1", "-m"], "hydra.sweeper.max_batch_size would name and check"),
        (["data.n_folds=five"], "data.n_folds=five must be an integer of at least 2"),
        (["data.n_folds=null", "job=prepare"], "data.n_folds=None must be an integer of at least 2"),
        (["hydra/sweeper=optuna_study", "fold=0"], "hydra/sweeper=optuna_study applies to sweeps only; add -m"),
        (["hydra/sweeper=basic"], "hydra/sweeper=basic applies to sweeps only; add -m"),
        (["design.kind=full", "+design.factors.a.inputs=onehot"], "a design is a sweep over its combinations; add -m"),
        (["loss=null"], "loss=null is not an option; choose one, such as loss=bce_dice (`--help` lists them)"),
        (["loss=null,bce_dice", "-m"], "loss=null is not an option; choose one, such as loss=bce_dice (`--help` "),
        (["loss=bce_dic,bce_dice", "-m"], "loss=bce_dic is not an option; did you mean bce_dice?"),
        (
            ["loss._target_=mynet.X"],
            "loss._target_: there is no module mynet; correct the name, or install its package",
        ),
        (
            ["lr=1e-4,2e-4", "schedule._target_=torch.optm.X", "-m"],
            "torch has no optm); correct the name (in: lr=0.0001",
        ),
        (["-cd=sweeps", "-cn=tabel2"], "-cn tabel2 names no configuration; did you mean table2?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_sentence_with_exit_code_2(
    line: list[str],
    sentence: str,
    in_empty_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert typed(line, monkeypatch) == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("brats-ablate: ")
    assert sentence in message
    assert "\n" not in message
    assert not (in_empty_folder / "work").exists(), "work was started"


def test_an_environment_that_no_launcher_makes_is_one_sentence(
    in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "x")
    assert typed(["job=status"], monkeypatch) == 0
    assert typed(["data=phantom", "fold=0,1", "-m"], monkeypatch) == 2
    assert "brats-ablate: WORLD_SIZE=x in the environment is not a number" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line", [["job=status", "job.json=/proc/x.json", "-m"], ["data=phantom", "fold=0,1", "paths.work=/proc/foo", "-m"]]
)
def test_an_error_of_the_file_system_is_one_sentence_in_a_sweep_too(
    line: list[str], in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(line, monkeypatch) == 1
    (message,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"brats-ablate: No such file or directory: /proc/.*; check path and permissions", message)


@pytest.mark.parametrize("config_dir", ["sweeps", "grids"])
def test_own_options_and_a_folder_of_sweeps_go_together(
    config_dir: str, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for file, text in {
        "conf/experiment/mine.yaml": "# @package _global_\nname: mine\nabout: {question: 'Does it help?', baseline: baseline}\n",
        "conf/data/hospital.yaml": "defaults: [phantom, _self_]\nname: hospital\n",
        f"{config_dir}/grid.yaml": (
            "defaults: [config, _self_]\nhydra: {mode: MULTIRUN, sweeper: {params: "
            "{+experiment: 'mine,ds', fold: '0,1', data: hospital}}}\n"
        ),
    }.items():
        (in_empty_folder / file).parent.mkdir(parents=True, exist_ok=True)
        (in_empty_folder / file).write_text(text)
    assert typed(["-cd", config_dir, "-cn", "grid", "job=status"], monkeypatch) == 0
    printed = capsys.readouterr()
    assert "mine " in printed.out, printed.err
    assert typed(["-cd", config_dir, "-cn", "grid", "job=status", "+experiment=min"], monkeypatch) == 2
    assert "did you mean mine?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("conf/experiment/ds.yaml", ["+experiment=ds", "fold=0"]),
        ("conf/experiment/ds.yaml", ["--help"]),
        ("conf/data/layout/brats2021.yaml", ["-cd", "sweeps", "-cn", "table2", "job=status"]),
        ("own/labels/brats2021.yaml", ["-cd", "own", "job=status"]),
        ("own/config.yaml", ["-cd", "own", "job=status"]),
    ],
)
def test_an_own_option_that_hydra_would_not_read_is_refused(
    file: str,
    line: list[str],
    in_empty_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own, installed = in_empty_folder / file, resource_dir("conf") / Path(file).relative_to(Path(file).parts[0])
    own.parent.mkdir(parents=True)
    own.write_text(installed.read_text() + "# changed\n")
    assert typed(line, monkeypatch) == 2
    printed = capsys.readouterr()
    assert not printed.out
    assert printed.err == (
        f"brats-ablate: {own} is not read, as {installed} has the same name; rename it, or start the command elsewhere\n"
    )
    own.write_text(installed.read_text())  # as in a checkout next to an installation
    assert typed(["--help"], monkeypatch) == 0


def test_the_first_of_two_own_options_of_a_name_is_not_read_without_a_word(
    in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("conf", "own"):
        (in_empty_folder / folder / "inputs").mkdir(parents=True)
        (in_empty_folder / folder / "inputs" / "mine.yaml").write_text(f"defaults: [plain, _self_]\n# {folder}\n")
    assert typed(["-cd", "own", "job=status"], monkeypatch) == 2
    first, second = (in_empty_folder / folder / "inputs" / "mine.yaml" for folder in ("conf", "own"))
    assert f"{second} is not read, as {first} has the same name; rename it" in capsys.readouterr().err


@pytest.mark.parametrize("line", [["-cd", "own", "job=status"], ["job=status"], ["-cd", "conf", "job=status"]])
def test_files_that_are_read_or_of_another_program_may_have_any_name(
    line: list[str], in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("conf", "own"):
        (in_empty_folder / folder / "experiments").mkdir(parents=True)
        table = f"title: {folder}\ncolumns: [{{title: A, experiment: a}}]\n"
        (in_empty_folder / folder / "experiments" / "mine.yaml").write_text(table)
    (in_empty_folder / "conf" / "config.yaml").write_text("of: another program\n")
    assert typed(line, monkeypatch) == 0


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (["paths.tables=afile", "job=tables"], "paths.tables=afile is a file; name a folder"),
        (["paths.evaluation=afile/deep", "job=evaluate"], "paths.evaluation=afile/deep: afile is a file; name a"),
        (["paths.work=afile", "job=status"], "paths.work=afile is a file; name a folder"),
        (["paths.work=afile", "fold=0,1", "-m"], "paths.work=afile is a file; name a folder"),
        (
            ["paths.tables=afile", "fold=0,1", "-m"],
            "paths.tables=afile is a file; name a folder (in: paths.tables=afile fold=0)",
        ),
        (["job=describe", "job.output=afile"], "job.output=afile is a file; name a folder"),
        (["job=report", "job.output=afolder"], "job.output=afolder is a folder; name a file in it"),
        (["job=status", "job.json=afolder"], "job.json=afolder is a folder; name a file in it"),
    ],
)
def test_a_file_in_place_of_a_folder_is_named_with_its_key(
    line: list[str],
    sentence: str,
    in_empty_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (in_empty_folder / "afile").touch()
    (in_empty_folder / "afolder").mkdir()
    assert typed(line, monkeypatch) == 2
    assert sentence in capsys.readouterr().err
    assert {each.name for each in in_empty_folder.rglob("*")} == {"afile", "afolder"}


def test_the_folder_of_a_sweep_is_named_next_to_a_folder_conf(
    in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (in_empty_folder / "conf").mkdir()
    assert typed(["-cn", "table2", "-m"], monkeypatch) == 2
    assert "-cn table2 needs its folder; add -cd sweeps" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "meant"), [("mime", "mine"), ("tabel2", "table2")])
def test_own_and_installed_sweeps_are_suggested(
    name: str, meant: str, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (in_empty_folder / "sweeps").mkdir()
    (in_empty_folder / "sweeps" / "mine.yaml").write_text("defaults: [config]")
    assert typed(["-cd", "sweeps", "-cn", name], monkeypatch) == 2
    assert f"-cn {name} names no configuration; did you mean {meant}?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("hydra: {sweeper: {params: {fold: '0,1'}}}", "hydra.sweeper.params applies to sweeps only; add -m"),
        ("design: {kind: full, factors: {a: {inputs: onehot}}}", "a design is a sweep over its combinations; add -m"),
    ],
)
def test_a_file_of_a_sweep_trains_no_single_run(
    text: str, sentence: str, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (in_empty_folder / "own").mkdir()
    (in_empty_folder / "own" / "mine.yaml").write_text(f"defaults: [config, _self_]\n{text}\n")
    assert typed(["-cd", "own", "-cn", "mine"], monkeypatch) == 2
    assert sentence in capsys.readouterr().err
    assert typed(["-cd", "own", "-cn", "mine", "-m"], monkeypatch) == 2
    assert "job=prepare" in capsys.readouterr().err
    assert typed(["-cd", "own", "-cn", "mine", "job=clean"], monkeypatch) == 0  # a job that is not of the sweep


def test_experiments_can_be_merged_under_a_name(
    in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(["+experiment=[ds,focal]", "name=ds_focal"], monkeypatch) == 2
    assert PREPARE in capsys.readouterr().err


def test_the_help_lists_experiments_with_their_questions_and_fits_a_terminal(
    in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert typed(["--help"], monkeypatch) == 0
    shown, _, groups = capsys.readouterr().out.partition("== Groups ==")
    assert re.search(r"^ds  +Does deep supervision of the lower decoder levels\n +help\?$", shown, re.M)
    groups, _, flags = groups.partition("--help,-h")
    assert "--version : Show the versions of the program and its packages and exit" in flags
    assert "inputs: onehot, onehot_as_released, plain" in groups
    assert max(map(len, groups.splitlines())) <= 80


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--help"], ["job=status"], ["job=status", "job.watch=1"], ["job=clean"]])
def test_a_reader_that_ends_early_is_no_error(tmp_path: Path, words: list[str]) -> None:
    write_run(run_at(tmp_path / "work/brats21/runs"), dice=(0.9,))
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "brats_ablate", *words]
    done = subprocess.run(command, cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "code"),
    [
        (["--help"], 0),
        (["--cfg", "job"], 0),
        (["job=tables", "job.tables=[table2]"], 0),
        (["job=status"], 0),
        (["+experiment=ds", "fold=0"], 2),
        (["lrr=1"], 2),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_prints_without_importing_what_training_needs(line: list[str], code: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "brats_ablate", *line],
        cwd=tmp_path,
        env=os.environ | {"BRATS_ABLATE_WORK": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    imported = {row.rsplit("|", 1)[1].strip() for row in done.stderr.splitlines() if row.startswith("import time:")}
    assert done.returncode == code
    assert "hydra" in imported  # the list was parsed
    reads_rows = line[0] == "job=tables"  # the one command here whose work is rows
    assert not {"torch", "monai", "wandb", "submitit", *([] if reads_rows else ["pandas"])} & imported
