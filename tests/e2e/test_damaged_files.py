"""Every file of a run and of a store in six wrong states, through the real jobs: one sentence that names it.

The other runs are shown all the same, and nothing ends in a traceback.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import blosc2
import pandas as pd
import pytest
import torch
import yaml
from omegaconf import DictConfig
from scaffolding import CommandLine

from brats_ablate.errors import RunFailed
from brats_ablate.jobs.execute import execute
from brats_ablate.launch.submission import Submission, write_submission
from brats_ablate.report import html
from brats_ablate.runs.directory import RunDirectory
from brats_ablate.runtime.output import warn_once
from brats_ablate.training import checkpoint

pytestmark = pytest.mark.slow(minutes=3)
Run = Callable[..., tuple[int, str]]
OVERRIDES = ("+experiment=baseline", "fold=0")
COMMANDS = {
    "status": ("job=status",),
    "tables": ("job=tables", "job.tables=[trained]"),
    "report": ("job=report", "job.tables=[trained]"),
    "predict": (
        *OVERRIDES,
        "job=predict",
        "job.cases=[Phantom_00003]",
        "inference=sliding_window_without_tta",
    ),  # of fold 0
    "train": OVERRIDES,  # last, as it repairs what it can
}


def newer(file: Path) -> None:
    """Add what a later version could write."""
    if file.suffix == ".pt":
        torch.save(torch.load(file, weights_only=True) | {"later": 1}, file)
    elif file.suffix == ".yaml":
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"later": 1}, sort_keys=False))
    elif file.suffix == ".json":
        content = json.loads(file.read_text())
        if "version" in content:
            content["version"] += 1
        file.write_text(json.dumps(content | {"later": 1}))
    elif file.suffix == ".jsonl":
        lines = [json.dumps(json.loads(line) | {"later": 1}) for line in file.read_text().splitlines()]
        file.write_text("".join(f"{line}\n" for line in lines))
    else:
        content = bytearray(file.read_bytes())
        content[10:12] = b"\xff\xff"  # of a .b2nd: header length and format version
        file.write_bytes(content)


WRONG: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda file: file.write_bytes(b""),
    "half": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "garbage": lambda file: file.write_bytes(b"[1, }\n: - x: {\n"),
    "binary": lambda file: file.write_bytes(bytes(range(256))),
    "newer": newer,
}


@pytest.fixture(scope="module")
def trained(phantom_work: Path, tmp_path_factory: pytest.TempPathFactory, small: tuple[str, ...]) -> Path:
    """A work folder with three trained runs, the first of them interrupted after its last epoch."""
    work = tmp_path_factory.mktemp("trained")
    shutil.copytree(phantom_work / "phantom" / "prepared", work / "phantom" / "prepared")
    command_line = CommandLine(work, small, {"BRATS_ABLATE_WORK": str(work)})
    done = command_line.run("+experiment=baseline", "fold=0,1,2", "-m")
    assert done.returncode == 0, done.stdout
    return work


@pytest.fixture
def study(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, of the test's own."""
    return Path(shutil.copytree(trained / "phantom", tmp_path / "study"))


@pytest.fixture
def run(
    composed: Callable[..., DictConfig],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Run:
    """Runs a command in this process and returns its exit code and output."""
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.setattr(html, "plotly_file", lambda: Path(__file__))  # 4 MB that each report would compress

    def call(name: str) -> tuple[int, str]:
        capfd.readouterr()
        cfg = composed(*COMMANDS[name], f"paths.work={tmp_path}/study")
        code = execute(cfg)
        out, err = capfd.readouterr()
        return code, out + err

    return call


def runs_of(study: Path) -> RunDirectory:
    """The run that is damaged, of fold 0."""
    return RunDirectory(study / "runs/baseline/fold=0/lr=0.01/seed=0")


def set_state(run: RunDirectory, state: str) -> None:
    file = run.path / "status.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"state": state}))


def problems(code: int, output: str, file: Path, *, must_name: bool) -> list[str]:
    """What is wrong with the output of a command that met a damaged file."""
    sentences = [line for line in output.splitlines() if line.startswith("brats-ablate: ")]
    found = ["a traceback"] if "Traceback" in output else []
    found += ["no sentence, or several"] if code and len(sentences) != 1 else []
    is_of_store = file.suffix == ".b2nd" or file.parent.name == "prepared"
    named = str(file) in output or (is_of_store and str(file.parent) in output)
    return found + (["does not name the file"] if (code or must_name) and not named else [])


def remove_results(study: Path) -> None:
    for name in ("predictions", "tables"):
        shutil.rmtree(study / name, ignore_errors=True)


def page_of(study: Path) -> str:
    """What a reader sees of the report: its text without scripts and data."""
    file = study / "tables" / "report.html"
    return re.sub(r"(?s)<(script|style).*?</\1>", "", file.read_text()) if file.exists() else ""


def shows_the_other_runs(study: Path) -> bool:
    """Whether the tables or the report that were written have the intact runs of folds 1 and 2."""
    page, rows = study / "tables" / "report.html", study / "tables" / "cases.csv"
    if not page.exists():
        return rows.exists() and {1, 2} <= set(pd.read_csv(rows)["fold"])
    packed = re.search(r'id="data">([^<]*)<', page.read_text())
    assert packed
    curves = json.loads(gzip.decompress(base64.b64decode(packed[1])))["curves"]
    return {1, 2} <= {curve["fold"] for curve in curves}


# The commands that read a file; the report what tables read. "!": an unreadable one (not missing, not of a later version) has to be named.
READ_BY = {
    "config.yaml": ("status", "tables", "predict!"),
    "manifest.json": ("status", "tables!", "report!", "predict!", "train!"),
    "status.json": ("status!", "tables!", "report!", "predict!", "train!"),
    "launch.json": ("status!",),
    "lock": ("status", "train"),
    "metrics.jsonl": ("status", "tables", "report", "train"),
    "cases.jsonl": ("tables", "report", "train"),
    "checkpoints/last.pt": ("status", "train!"),
    "checkpoints/best_*.pt": ("predict!", "train"),
}


@pytest.mark.parametrize("name", READ_BY)
def test_a_damaged_file_of_a_run(study: Path, run: Run, name: str) -> None:
    damaged, intact, found = runs_of(study), study / "intact", []
    shutil.copytree(damaged.path, intact)
    for wrong, change in WRONG.items():
        for command in READ_BY[name]:
            shutil.rmtree(damaged.path)
            remove_results(study)
            shutil.copytree(intact, damaged.path)
            if command.startswith("train") or name == "launch.json":
                set_state(damaged, "interrupted")
            write_submission(damaged.path, Submission("local", "1", str(study), 1, "elsewhere"))
            (file,) = sorted(damaged.path.glob(name))[:1]
            change(file)
            warn_once.cache_clear()
            code, output = run(command.rstrip("!"))
            must_name = command.endswith("!") and wrong not in ("missing", "newer")
            must_name |= name == "cases.jsonl" and wrong == "newer" and command != "train"  # its keys are regions
            if name == "status.json" and wrong == "missing" and "has no finished run of fold 0" in output:
                continue  # as a run that was never started
            output += page_of(study) if command.startswith("report") else ""
            found += [f"{wrong} {command}: {p}: {output}" for p in problems(code, output, file, must_name=must_name)]
            if command.startswith("status") and "2 finished" not in output and "3 finished" not in output:
                found.append(f"{wrong} {command}: the other runs are not shown: {output}")
            if command.startswith(("tables", "report")) and (code or not shows_the_other_runs(study)):
                found.append(f"{wrong} {command}: the other runs are not shown: {output}")
    assert not found, "\n".join(found)


# status reads no file of a store, tables and report none of its arrays, and predict no labels.
STORE_READ_BY = {
    **dict.fromkeys(("cohort.json", "folds.json", "records.jsonl"), ("tables", "report", "predict", "train")),
    "cases/*3/images.b2nd": ("predict", "train"),
    "cases/*3/labels.b2nd": ("train",),
}


@pytest.mark.parametrize("name", STORE_READ_BY)
def test_a_damaged_file_of_a_store(study: Path, run: Run, name: str) -> None:
    (file,) = sorted((study / "prepared").glob(name))[:1]
    intact, found = file.read_bytes(), []
    for command in STORE_READ_BY[name]:
        if command == "train":
            (runs_of(study).path / "status.json").unlink()
            runs_of(study).last_checkpoint.unlink()
        for wrong, change in WRONG.items():
            remove_results(study)
            file.write_bytes(intact)
            change(file)
            code, output = run(command)
            must_name = wrong != "newer"
            found += [f"{wrong} {command}: {p}: {output}" for p in problems(code, output, file, must_name=must_name)]
            if command in ("tables", "report") and (code or not shows_the_other_runs(study)):
                found.append(f"{wrong} {command}: the runs are not shown: {output}")
            if command not in ("tables", "report") and wrong != "newer" and not code:
                found.append(f"{wrong} {command}: succeeded")
    assert not found, "\n".join(found)


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def same(one: object, other: object) -> bool:
    """Whether two contents of checkpoints are equal, bit for bit."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one == other


@pytest.mark.parametrize("pattern", ["last.pt", "best_*.pt"])
def test_no_flipped_bit_of_a_trained_checkpoint_changes_it_silently(study: Path, pattern: str) -> None:
    (file, *_) = sorted(study.glob(f"runs/baseline/fold=0/*/*/checkpoints/{pattern}"))
    intact, expected = file.read_bytes(), checkpoint.load(file)
    sentences = []
    for bit in random.Random(0).sample(range(8 * len(intact)), 300):
        file.write_bytes(flipped(intact, bit))
        try:
            content = checkpoint.load(file)
        except RunFailed as error:
            sentences.append(str(error))
        else:  # a bit that nothing depends on
            assert same(content, expected)
    assert len(sentences) > 200
    assert all(str(file) in sentence for sentence in sentences)


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.command = f"touch {file}"

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize(("command", "pattern"), [("train", "last.pt"), ("predict", "best_*.pt")])
def test_a_hostile_checkpoint_runs_nothing(study: Path, run: Run, tmp_path: Path, command: str, pattern: str) -> None:
    (file, *_) = sorted(study.glob(f"runs/baseline/fold=0/*/*/checkpoints/{pattern}"))
    torch.save({"model": Hostile(tmp_path / "ran")}, file)
    if command == "train":
        set_state(runs_of(study), "interrupted")
    code, output = run(command)
    assert code == 1
    assert not problems(code, output, file, must_name=True), output
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("command", ["train", "predict"])
def test_a_hostile_array_runs_nothing(study: Path, run: Run, tmp_path: Path, command: str) -> None:
    operand = blosc2.ones((4, 4), urlpath=str(tmp_path / "operand.b2nd"), mode="w")
    lazy = tmp_path / "lazy.b2nd"
    blosc2.lazyexpr("a + 1", operands={"a": operand}).save(urlpath=str(lazy))
    content = blosc2.blosc2_ext.open(str(lazy), "a", 0)
    recipe = dict(content.vlmeta)["b2o"]
    content.vlmeta["b2o"] = recipe | {"expression": f"__import__('os').system('touch {tmp_path / 'ran'}')"}
    for file in study.glob("prepared/cases/*/images.b2nd"):
        shutil.copy(lazy, file)
    if command == "train":
        (runs_of(study).path / "status.json").unlink()
        runs_of(study).last_checkpoint.unlink()
    code, output = run(command)
    assert code == 1
    assert "Traceback" not in output
    assert "images.b2nd is no plain array but a " in output
    assert not (tmp_path / "ran").exists()
