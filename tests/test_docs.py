"""The documents name files, jobs and layers that exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "brats_ablate"
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
DOCUMENTS = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_module_named_in_a_document_exists(document: Path) -> None:
    names = set(re.findall(r"`((?:src/brats_ablate/)?[a-z_]+/[a-z_/]+\.py)`", document.read_text(encoding="utf-8")))
    missing = [n for n in names if not any((root / n).exists() for root in (PACKAGE, ROOT))]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    assert not [link for link in links if not (document.parent / link).exists()]


@pytest.mark.parametrize(
    "document", [path for path in DOCUMENTS if path.name != "variants.md"], ids=lambda path: path.name
)
def test_every_option_named_in_a_sentence_exists(document: Path) -> None:
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.S))
    named = (re.fullmatch(r"[+']?(\w+(?:/\w+)?)=([\w,]+)'?", word) for span in spans for word in span.split())
    options = [(match[1], option) for match in named if match for option in match[2].split(",")]
    folders = {group: ROOT / "conf" / group for group, _ in options}
    known = [(group, option) for group, option in options if folders[group].is_dir() and not group.startswith("hydra")]
    assert [each for each in known if not (folders[each[0]] / f"{each[1]}.yaml").exists()] == []


def test_the_layers_are_those_that_the_import_linter_checks() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    checked = {package for layer in contract["layers"] for package in re.findall(r"\w+", layer)} - {"__main__"}
    section = ARCHITECTURE.split("## Layers")[1].split("\n## ")[0]
    documented = {
        name for row in re.findall(r"^\| \d \| ([^|]+) \|", section, re.M) for name in re.findall(r"`(\w+)`", row)
    }
    modules = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert documented == checked == modules - {"__init__", "__main__"}
