"""Every command of the README and of the demo runs, in their order, on a small cohort."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from documents import in_one_process
from scaffolding import CommandLine

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROGRAM = "python -m brats_ablate "
PYTHON = ("import ", "brats_ablate.", "case = ")

SHORTER = {
    "data.raw=/data/BraTS2021": "",  # the phantom writes its own files
    "fold=0,1,2,3,4": "fold=0,1",
    "-cn demo": "-cn demo fold=0,1",
    "-cn table2": "-cn demo fold=0,1",
    "hydra/launcher=slurm_a100": "hydra/launcher=submitit_local",
    "ds_deeper_channels_onehot": "ds_onehot",  # the small patches have no seven levels
    "ds_deeper_onehot": "ds",
}
"""What the small cohort cannot do → what is run instead."""


def code_lines(document: str) -> list[str]:
    return [line.strip() for line in re.findall(r"^    (\S.*)$", document, re.M)]


def commands() -> list[str]:
    return [line.split("    #")[0].strip() for line in code_lines(README) if line.startswith(PROGRAM)]


def demo() -> list[str]:
    recipe = re.search(r"^demo:.*\n((?:\t.*\n)+)", MAKEFILE, re.M)
    assert recipe
    return [line.strip().replace("$(RUN)", PROGRAM.strip()) for line in recipe[1].splitlines()]


def of_two_folds(work: Path, small: tuple[str, ...]) -> CommandLine:
    others = [each for each in small if not each.startswith("data.n_folds")]
    return CommandLine(work, [*others, "data.n_folds=2"], {"BRATS_ABLATE_WORK": str(work)})


def run(study: CommandLine, command: str, **replaced: str) -> None:
    for text, other in (*SHORTER.items(), *replaced.items()):
        command = command.replace(text, other)
    arguments = in_one_process(shlex.split(command.removeprefix(PROGRAM)))
    flags = [a for a in arguments if a.startswith("-")]
    done = study.run(*arguments) if "--help" not in flags else CommandLine(study.folder).run("--help")
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    assert "Traceback" not in done.stdout


def test_the_readme_has_no_other_commands() -> None:
    """So that a new kind of command cannot stay untested."""
    others = [line for line in code_lines(README) if not line.startswith(PROGRAM)]
    assert [line.split("  ")[0] for line in others if not line.startswith(PYTHON)] == [
        "make demo",
        "make test",
    ]


@pytest.mark.slow(minutes=6)
def test_every_command_of_the_demo_and_of_the_readme_runs(tmp_path: Path, small: tuple[str, ...]) -> None:
    study = of_two_folds(tmp_path, small)
    for command in demo():
        run(study, command)
    again = study.run(*shlex.split(demo()[1].removeprefix(PROGRAM)), "fold=0,1")
    assert "0 of 6 runs to do, 6 already finished" in again.stdout
    assert not re.search(r"epoch +1/", again.stdout)
    files = {"/data/new": str(tmp_path / "phantom/raw"), "/data/theirs": str(tmp_path / "phantom/predictions/ds")}
    for command in commands():
        run(study, command, **files)
    case = min((tmp_path / "phantom/raw").iterdir())
    script = "\n".join(line for line in code_lines(README) if line.startswith(PYTHON))
    script = script.replace("work/brats21", str(tmp_path / "phantom")).replace("/data/new/case_001", str(case))
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
