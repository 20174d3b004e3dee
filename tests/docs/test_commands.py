"""Every command in the documents names options and keys that exist; other tests run those of the pages they are about."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from documents import ROOT, commands
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from brats_ablate.config.arguments import current_keys, quoted_paths

DOCUMENTS = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
OPTIONS_OF_A_STUDY = ("-cd own", "=mine", "data=clinic", "data.list=list.csv", "model.network")
"""Of files that a page shows, or of a page with commands that are to fail; a test of that page has them."""


def is_complete(line: list[str]) -> bool:
    text = " ".join(line)
    return not any(part in text for part in ("…", *OPTIONS_OF_A_STUDY)) and not text.startswith("--")


def first_of_each_sweep(arguments: list[str]) -> list[str]:
    overrides = OverridesParser.create().parse_overrides(arguments)
    return [
        f"{o.get_key_element()}={_first(o)}" if o.is_sweep_override() else argument
        for argument, o in zip(arguments, overrides, strict=True)
    ]


def _first(swept: Override) -> object:
    return swept.value().start if swept.is_interval_sweep() else next(swept.sweep_string_iterator())


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_is_composed(document: str, tmp_path: Path, composition: Callable[..., DictConfig]) -> None:
    for line in filter(is_complete, commands(document, tmp_path)):
        arguments = quoted_paths(current_keys(line))
        if "-cn" in arguments:
            assert (ROOT / "sweeps" / f"{arguments[arguments.index('-cn') + 1]}.yaml").exists(), line
        flags = {value for flag, value in itertools.pairwise(arguments) if flag in ("-cd", "-cn", "--cfg")}
        overrides = [a for a in arguments if not a.startswith("-") and a not in flags and not a.startswith("hydra")]
        composition(*first_of_each_sweep(overrides))


def test_most_commands_are_found(tmp_path: Path) -> None:
    complete = [line for document in DOCUMENTS for line in commands(document, tmp_path) if is_complete(line)]
    assert len(complete) > 50
