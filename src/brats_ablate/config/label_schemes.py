"""The label schemes of the configuration's folders, by the name of their option."""

from __future__ import annotations

from brats_ablate.config.locations import option_files, read_option
from brats_ablate.errors import ConfigError
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.runtime.text import suggest


def scheme_named(option: str) -> LabelScheme:
    """Return the scheme of `conf/labels/<option>.yaml`.

    Raises:
        ConfigError: there is no such option, or it is no scheme.
    """
    if option not in (known := option_files("labels")):
        raise ConfigError(f"labels={option} does not exist; {suggest(option, known)}")
    tree = read_option("labels", option)
    try:
        return LabelScheme(**{key: value for key, value in tree.items() if key != "_target_"})
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{known[option]}: {error}; correct it") from error


def known_schemes() -> list[LabelScheme]:
    """Return every scheme that an option of labels declares."""
    return [scheme_named(option) for option in option_files("labels")]
