"""Makes the pages of the site that are generated, and the links that lead out of docs/."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
_FILE = re.compile(r"^```(\w+) (\S+)$", re.M)
"""A code block of a file: its language and name."""
_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./(?!images|python\.md)[^)]*\)")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: object) -> str:
    """Fill the placeholders of generated pages; show links to files outside docs/ as text."""
    source = page.file.src_uri
    if source == "reference/options.md":
        return markdown.replace("<!-- options -->", _options(ROOT / "conf"))
    if source == "reference/keys.md":
        return markdown.replace("<!-- keys -->", f"```yaml\n{_composed()}```")
    if source == "reference/changelog.md":
        text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
        return re.sub(r"\]\(docs/", "](../", text)
    markdown = _FILE.sub(r'```\1 title="\2"', markdown)
    return markdown if "/" in source else _OUTSIDE.sub(r"\1", markdown)


def _options(conf: Path) -> str:
    """Return a section per group with the file of each option."""
    parts = []
    for folder in sorted({file.parent for file in conf.rglob("*.yaml")} - {conf}):
        group = folder.relative_to(conf).as_posix()
        parts.append(f"## {group}\n")
        for file in sorted(folder.glob("*.yaml")):
            parts.append(f"### {group}={file.stem}\n\n```yaml\n{file.read_text(encoding='utf-8')}```\n")
    return "\n".join(parts)


def _composed() -> str:
    command = [sys.executable, "-m", "brats_ablate", "--cfg", "job"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
