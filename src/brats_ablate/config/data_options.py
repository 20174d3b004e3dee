"""The label schemes and layouts of file names in the configuration's folders, by the name of their option."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from brats_ablate.config.locations import option_files, read_option
from brats_ablate.data.layouts import Layout
from brats_ablate.errors import ConfigError
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.runtime.text import suggest

Declared = TypeVar("Declared", LabelScheme, Layout)


def scheme_named(option: str) -> LabelScheme:
    """Return the scheme of `conf/labels/<option>.yaml`.

    Raises:
        ConfigError: there is no such option, or it is no scheme.
    """
    if option not in (known := option_files("labels")):
        raise ConfigError(f"labels={option} does not exist; {suggest(option, known)}")
    return _declared("labels", option, LabelScheme)


def known_schemes() -> list[LabelScheme]:
    """Return every scheme that an option of labels declares."""
    return [scheme_named(option) for option in option_files("labels")]


def known_layouts() -> dict[str, Layout]:
    """Return every layout that an option of data/layout declares.

    Raises:
        ConfigError: a file is no layout.
    """
    return {option: _declared("data/layout", option, Layout) for option in option_files("data/layout")}


def _declared(group: str, option: str, build: Callable[..., Declared]) -> Declared:
    try:
        return build(**{key: value for key, value in read_option(group, option).items() if key != "_target_"})
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{option_files(group)[option]}: {error}; correct it") from error
