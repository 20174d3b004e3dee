"""The text of `--help`: Hydra's, with the question of each experiment, wrapped to the terminal's width."""

from __future__ import annotations

import re
import shutil
from textwrap import fill

from omegaconf import OmegaConf

from brats_ablate.config.locations import option_files

_GROUPS = "== Groups =="


def with_questions(text: str) -> str:
    """Return Hydra's help with a section that lists each experiment and the question that it answers."""
    width = max(60, shutil.get_terminal_size().columns)
    questions = _questions()
    indent = max(map(len, questions)) + 2
    listed = [
        fill(f"{name:<{indent}}{question}", width, subsequent_indent=" " * indent, break_on_hyphens=False)
        for name, question in questions.items()
    ]
    section = "\n".join(["== Experiments (+experiment=NAME) ==", *listed, "", _GROUPS])
    text = re.sub(r"^experiment: .*\n", "", text, flags=re.M).replace(_GROUPS, section, 1)
    text = text.replace("Show Hydra's version", "Show the versions of the program and its packages")
    groups = re.compile(r"^[\w/]+: .+$", re.M)
    return groups.sub(lambda m: fill(m[0], width, subsequent_indent="    ", break_on_hyphens=False), text)


def _questions() -> dict[str, str]:
    """Return the question of each experiment, by name."""
    trees = {name: OmegaConf.load(file) for name, file in option_files("experiment").items()}
    return {name: str(OmegaConf.select(tree, "about.question") or "") for name, tree in trees.items()}
