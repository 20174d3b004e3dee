"""docs/installation.md: the licenses of all dependencies, the version, and completion."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "installation.md").read_text(encoding="utf-8")
PROGRAM = Path(sys.executable).with_name("brats-ablate")


def dependencies() -> set[str]:
    """Names of the packages that the project or one of its extras imports."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"], *(r for name, rs in extras.items() if name != "dev" for r in rs)]
    return {re.match(r"[\w-]+", r)[0].lower() for r in requirements}


def licenses() -> dict[str, str]:
    """License by package, as the document says it."""
    section = DOCUMENT.split("## Licenses")[1]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", section, re.M)[1:]
    return {re.match(r"[\w-]+", name)[0]: license for license, names in rows for name in names.split(", ")}


def test_the_license_of_every_dependency_is_listed() -> None:
    assert licenses().keys() == dependencies()


def test_the_packages_under_the_lgpl_are_those_that_say_so() -> None:
    declared = {name: _declared(name) for name in _installed()}
    assert {n for n, text in declared.items() if "GPL" in text} == {
        n for n, text in licenses().items() if "GPL" in text
    }


def _declared(name: str) -> str:
    """Return the name of a license; a text that follows it is also that of bundled libraries."""
    fields = metadata(name)
    return str(fields["License-Expression"] or fields["License"] or fields.get_all("Classifier")).splitlines()[0]


def _installed() -> list[str]:
    found = []
    for name in dependencies():
        try:
            metadata(name)
        except PackageNotFoundError:
            continue
        found.append(name)
    return found


def test_every_extra_is_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(re.findall(r"`brats-ablate\[(\w+)\]`", DOCUMENT)) == project["optional-dependencies"].keys() - {"dev"}


@pytest.mark.slow
@pytest.mark.skipif(not PROGRAM.exists(), reason="the package is not installed")
def test_the_version_and_the_completion_of_bash() -> None:
    shown = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    assert re.match(
        r"brats-ablate \d+\.\d+\S* \(torch 2\.\S+, monai 1\.\S+, hydra-core 1\.3\.\S+, Python 3\.\d+\.\d+\)\n$", shown
    ), shown
    (advice,) = re.findall(r"^    (eval .*)$", DOCUMENT, re.M)
    script = f"""PATH={PROGRAM.parent}:$PATH
        {advice}
        COMP_WORDS=(brats-ablate model=res); COMP_CWORD=1; COMP_LINE="${{COMP_WORDS[*]}}"; COMP_POINT=${{#COMP_LINE}}
        hydra_bash_completion; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    completed = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert set(completed) == {f"model={f.stem}" for f in (ROOT / "conf" / "model").glob("res*.yaml")}
