"""Code blocks of the documents, and the commands in them as a shell passes them on."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
_PROGRAMS = (("python", "-m", "brats_ablate"), ("brats-ablate",))
_EACH_BLOCK = """
exec 3>&1
python() { { printf '%s\\037' python "$@"; echo; } >&3; }
brats-ablate() { { printf '%s\\037' brats-ablate "$@"; echo; } >&3; }
for block in "$@"; do eval "$block"; done
"""
_MAPPED = {f"job={name}" for name in ("prepare", "evaluate", "tune", "calibration")}
"""Jobs that map cases over processes."""


def in_one_process(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command, with those that keep its job in one process: others start slower than it ends."""
    return [*arguments, *(["job.workers=1"] if _MAPPED & set(arguments) else [])]


def read(document: str) -> str:
    """Return the text of a file of the project: `read("docs/python.md")`."""
    return (ROOT / document).read_text(encoding="utf-8")


def fenced(document: str, language: str) -> list[str]:
    """Return the content of each block between fences that names `language`."""
    return re.findall(rf"^```{language}\n(.*?)^```$", read(document), re.M | re.S)


def files(document: str) -> dict[str, str]:
    """Return name -> content of the blocks that name a file after their language."""
    return dict(re.findall(r"^```\S+ (\S+)\n(.*?)^```$", read(document), re.M | re.S))


def write_files(document: str, folder: Path) -> None:
    """Write the files of a document into a folder."""
    for name, content in files(document).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")


def commands(document: str, folder: Path) -> list[list[str]]:
    """Return the arguments of each call of the program in a document, as bash in `folder` passes them.

    Variables, quotes, comments and continued lines are the shell's; other programs are not run. A placeholder such as
    <folder> is a fault: a shell would not take it.
    """
    text = re.sub(r"^```(?!sh\n|bash\n)[^\n]+\n.*?^```$", "", read(document), flags=re.M | re.S)
    blocks = re.findall(r"^```\w+\n(.*?)^```$|((?:^    [^\n]*\n)+)", text, re.M | re.S)
    scripts = [fence or re.sub("^    ", "", lines, flags=re.M) for fence, lines in blocks]
    scripts = [script for script in scripts if re.search("^(python -m brats_ablate|brats-ablate) ", script, re.M)]
    shell = ["/bin/bash", "-c", _EACH_BLOCK, "bash", *scripts]
    done = subprocess.run(shell, cwd=folder, env={"PATH": ""}, capture_output=True, text=True, check=False)
    assert "syntax error" not in done.stderr, f"{document}: {done.stderr}"
    calls = [tuple(line.split("\037")[:-1]) for line in done.stdout.splitlines()]
    return [list(call[len(program) :]) for call in calls for program in _PROGRAMS if call[: len(program)] == program]
