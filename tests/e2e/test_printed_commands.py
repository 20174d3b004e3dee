"""Commands that the program prints do what they say when they are pasted into a shell."""

from __future__ import annotations

import html
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from scaffolding import CommandLine

from brats_ablate.runs.directory import find_runs

DATA = ("data.phantom.cases=4", "data.phantom.shape=[24,24,24]", "data.n_folds=2")
TINY = (
    "trainer=demo", "trainer.epochs=1", "validation.every=1", "trainer.crops_per_case=1", "trainer.loader_threads=1",
    "trainer.precision=fp32", "patches.shape=[16,16,16]", "encoder.channels=[8,8,16,16]", "encoder.width=1.0",
)  # fmt: skip


def printed(output: str) -> str:
    """The last command in an output."""
    return re.findall(r"python -m brats_ablate [^`\n]*", output)[-1]


def pasted(command_line: CommandLine, command: str) -> subprocess.CompletedProcess[str]:
    """Run a printed command as a shell splits it, without anything added."""
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "brats_ablate"]
    return command_line.run(*words[3:])


@pytest.mark.slow(minutes=2)
def test_from_data_that_are_not_prepared_to_the_report(tmp_path: Path) -> None:
    """Each printed command is run as it is, with the options of the first one: data, its place, trainer, sizes."""
    line = CommandLine(tmp_path)
    place = ("data=phantom", f"paths.work={tmp_path}/my study=1")
    refused = line.run("+experiment=ds", *place, *DATA, *TINY, "fold=0")
    assert refused.returncode == 2
    prepared = pasted(line, printed(refused.stdout))
    assert prepared.returncode == 0, prepared.stdout
    assert "4 cases in" in prepared.stdout
    assert f"{tmp_path}/my study=1" in prepared.stdout

    follows = printed(prepared.stdout)
    assert {"+experiment=baseline", "data=phantom", "trainer=demo", "fold=0,1", "-m"} <= set(shlex.split(follows))

    swept = line.run("+experiment=ds", *place, *DATA, *TINY, "fold=0", "-m")
    assert swept.returncode == 0, swept.stdout
    baseline = printed(swept.stdout)
    assert {"+experiment=baseline", *TINY} <= set(shlex.split(baseline))
    trained = pasted(line, baseline)
    assert trained.returncode == 0, trained.stdout
    assert {path.parent.name for path in (tmp_path / "my study=1/runs").glob("*/fold=0")} == {"baseline", "ds"}

    again = line.run("+experiment=ds", *place, *DATA, *TINY, "fold=0", "-m")
    report = pasted(line, printed(again.stdout))
    assert report.returncode == 0, report.stdout
    page = (tmp_path / "my study=1/tables/report.html").read_text()
    for command in re.findall(r"<td[^>]*>(python -m brats_ablate .*? fold=1 -m)</td>", page):
        trained = pasted(line, html.unescape(command))
        assert trained.returncode == 0, trained.stdout
    manifests = {run.path: run.manifest()["identity"] for run in find_runs(tmp_path / "my study=1/runs")}
    assert len(manifests) == 4
    assert len({str({**identity, "fold": None}) for identity in manifests.values()}) == 2


@pytest.mark.slow(minutes=1)
def test_a_description_names_the_command_that_makes_it_again(tmp_path: Path) -> None:
    line = CommandLine(tmp_path)
    options = (
        "job.output=${paths.work}/here",
        "job.timing_shape=[32,32,64]",
        "job.timing_width=0.125",
        "job.repeats=3",
    )
    place = f"paths.work={tmp_path}/a b"
    described = line.run("job=describe", "+experiment=ds", "data=phantom", *TINY, place, *options)
    assert described.returncode == 0, described.stdout
    file = tmp_path / "a b" / "here" / "variants.md"
    text = file.read_text()
    assert {*TINY, *options} <= set(shlex.split(printed(text)))
    file.unlink()
    again = pasted(line, printed(text))
    assert again.returncode == 0, again.stdout
    assert file.read_text() == text
