"""Designs of ablation studies: which combinations of named factors are trained. `conf/design/` has the options.

A factor is a set of overrides that is on or off. A run is named by what is on, after its experiment: a larger design
contains the runs of a smaller one, and `ds` with the factor `deeper` is the run of the experiment `ds_deeper`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from brats_ablate.errors import ConfigError
from brats_ablate.runs.identity import flattened
from brats_ablate.runtime.text import is_plain_name, suggest

DEFAULT = "default"
"""Name of a run of a grid or design without an experiment that differs in nothing."""
Kind = Literal["one_at_a_time", "leave_one_out", "full"]
Overrides = Mapping[str, object]
"""Group or key → option or value."""
_KEYS = ("kind", "title", "factors", "together", "on")
"""`on`, what is on in a run, is set by the launcher."""
_MOST_FACTORS = 8
"""Of a full design: 256 combinations."""


@dataclass(frozen=True)
class Design:
    """The combinations of a study."""

    kind: Kind
    factors: Mapping[str, Overrides]
    together: Mapping[frozenset[str], Overrides]
    """What factors set together, where they would set the same key to different values."""
    title: str | None = None
    """Of the table."""

    @classmethod
    def from_config(cls, node: Mapping[str, Any]) -> Design | None:
        """Read the group `design` as plain containers; None for design=none.

        Raises:
            ConfigError: a key, kind or factor is wrong, or factors set the same key and nothing says what they do
                together.
        """
        for key in node:
            if key not in _KEYS:
                raise ConfigError(f"design.{key} is not a known key; {suggest(key, _KEYS, prefix='design.')}")
        kind, factors = node.get("kind"), node.get("factors") or {}
        if kind is None:
            if factors:
                raise ConfigError(f"design.factors has no design; add design={' | '.join(get_args(Kind))}")
            return None
        if kind not in get_args(Kind):
            raise ConfigError(f"design.kind={kind} is unknown; choose one of {', '.join(get_args(Kind))}")
        flat = {name: _flat(f"design.factors.{name}", value) for name, value in factors.items()}
        design = cls(kind, flat, _together(node.get("together") or {}, tuple(factors)), node.get("title"))
        design._check()
        return design

    @property
    def combinations(self) -> list[tuple[str, ...]]:
        """The factors that are on in each run, in the order of `factors`; the reference first."""
        names, n = tuple(self.factors), len(self.factors)
        sizes = {"one_at_a_time": (0, 1), "leave_one_out": (n, n - 1), "full": range(n + 1)}[self.kind]
        return [on for size in sizes for on in itertools.combinations(names, size)]

    @property
    def reference(self) -> tuple[str, ...]:
        """What the other runs are compared with: all factors in leave-one-out designs, else none."""
        return self.combinations[0]

    def overrides(self, on: Sequence[str]) -> dict[str, object]:
        """Return what the run with the factors `on` overrides.

        Raises:
            ConfigError: two of them set a key to different values, and no entry of `together` decides.
        """
        applicable = sorted((entry for entry in self.together if entry <= set(on)), key=len)
        values = {key: value for name in on for key, value in self.factors[name].items()}
        values |= {key: value for entry in applicable for key, value in self.together[entry].items()}
        for key in values:
            setters = [name for name in on if key in self.factors[name]]
            differ = any(self.factors[name][key] != self.factors[setters[0]][key] for name in setters)
            decided = (entry >= set(setters) for entry in applicable if key in self.together[entry])
            if differ and not any(decided):
                raise ConfigError(
                    f"the factors {', '.join(setters)} set {key} differently; say what they set together, "
                    f"e.g. +design.together.{'_'.join(setters)}.{key}=…"
                )
        return values

    def title_of(self, on: Sequence[str], base: str) -> str:
        """Return the head of a run's column: what is on, or, in leave-one-out designs, what is left out."""
        if self.kind == "leave_one_out":
            absent = [name for name in self.factors if name not in on]
            return f"without {absent[0]}" if absent else "all"
        return " + ".join(on) or base

    def _check(self) -> None:
        least = 2 if self.kind == "leave_one_out" else 1
        if len(self.factors) < least:
            raise ConfigError(
                f"design={self.kind} needs {least} factor{'s' if least > 1 else ''} or more; name each with what it "
                "sets, e.g. +design.factors.onehot.inputs=onehot"
            )
        if self.kind == "full" and len(self.factors) > _MOST_FACTORS:
            raise ConfigError(f"design=full takes up to {_MOST_FACTORS} factors; use design=one_at_a_time for more")
        for name in self.factors:
            if not is_plain_name(name):
                raise ConfigError(f"design.factors.{name}: runs are named by it; use letters, digits, - and _ only")
        names = [combination_name(DEFAULT, on) for on in self.combinations]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ConfigError(f"two combinations of design.factors have the name {twice[0]}; rename a factor")
        for on in self.combinations:
            self.overrides(on)


def combination_name(base: str, on: Sequence[str]) -> str:
    """Return the name of the run with the factors `on`; `base` is that of the run without any.

    Examples:
        >>> combination_name("ds", ["deeper", "onehot"])
        'ds_deeper_onehot'
        >>> combination_name("default", ["onehot"])
        'onehot'
    """
    return "_".join(on) if on and base == DEFAULT else "_".join([base, *on])


def _together(node: Mapping[str, object], factors: Sequence[str]) -> dict[frozenset[str], Overrides]:
    """Read what combinations set; each is named by its factors in their order, joined by underscores."""
    named = {key: next((of for of in _split(key, factors) if len(of) > 1), None) for key in node}
    for key, of in named.items():
        if of is None:
            ordered = "_".join(name for name in factors if f"_{name}_" in f"_{key}_")
            is_reordered = sorted(ordered.split("_")) == sorted(key.split("_"))
            hint = f"write {ordered}" if is_reordered else f"factors are: {', '.join(factors)}"
            raise ConfigError(f"design.together.{key} is not a combination of factors in their order; {hint}")
    return {frozenset(named[key] or ()): _flat(f"design.together.{key}", value) for key, value in node.items()}


def _split(key: str, factors: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield each combination of factors, in their order, whose names joined by underscores are `key`."""
    for i, name in enumerate(factors, start=1):
        if key == name:
            yield (name,)
        if key.startswith(f"{name}_"):
            yield from ((name, *rest) for rest in _split(key.removeprefix(f"{name}_"), factors[i:]))


def _flat(key: str, node: object) -> dict[str, object]:
    """Return nested keys as dotted ones."""
    if not isinstance(node, Mapping) or not node:
        raise ConfigError(f"{key}={node} must be a set of overrides, e.g. {{inputs: onehot}}")
    return flattened(node)
