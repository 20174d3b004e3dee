"""The composition of a sweep's runs: each combination of groups once, its names, and the factors of a design."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from omegaconf import DictConfig, OmegaConf

from hydra_plugins._brats_ablate_trials import fixed_overrides, wants_scores

if TYPE_CHECKING:
    from brats_ablate.config.design import Design

_COORDINATES = ("fold", "lr", "seed")


class CachedComposition:
    """Composes each combination of groups once and sets fold, lr and seed afterwards: 180 runs in seconds."""

    def __init__(self, loader: ConfigLoader, base: DictConfig) -> None:
        self.loader, self.base = loader, base
        self.parser = OverridesParser.create(config_loader=loader)
        self.composed: dict[tuple[str, ...], DictConfig] = {}

    def factors(self, overrides: Mapping[str, object], of_grid: Sequence[str]) -> list[str]:
        """Return what the factors of a design override as the command line would; `of_grid` are its own overrides.

        Raises:
            ConfigError: the command line or the grid sets a key that a factor sets.
        """
        from brats_ablate.errors import ConfigError

        given = {self.parser.parse_override(text).key_or_group for text in of_grid}
        for key in overrides:
            if key.lstrip("+~") in given:
                raise ConfigError(f"{key} is set by a factor of the design, and again here; leave one out")
        texts = {key: Override._get_value_element_as_str(_quoted(value)) for key, value in overrides.items()}
        return [key if key.startswith("~") else f"{key}={text}" for key, text in texts.items()]

    def names(
        self, grid: Sequence[tuple[Sequence[str], Sequence[str]]], design: Design | None
    ) -> list[tuple[str, str | None] | None]:
        """Return name and baseline of each run of a grid, and of the factors that are on in it."""
        from brats_ablate.config.design import combination_name
        from brats_ablate.launch.grid_names import grid_name

        named = self.grid_names([of_grid for of_grid, _ in grid])
        if design is None:
            return named
        combined: list[tuple[str, str | None] | None] = []
        for (of_grid, on), name in zip(grid, named, strict=True):
            base = grid_name(str(self(of_grid).name), ()) if name is None else name[0]
            reference = combination_name(base, design.reference)
            combined.append((combination_name(base, on), None if tuple(on) == design.reference else reference))
        return combined

    def grid_names(self, grid: Sequence[Sequence[str]]) -> list[tuple[str, str | None] | None]:
        """Return name and baseline of each run of a grid over options or values; None where `name` stays.

        The baseline is the run that differs from its experiment in nothing, if the grid contains it.
        """
        from brats_ablate.launch.grid_names import grid_name, naming_keys

        parsed = [{p.key_or_group: p for p in map(self.parser.parse_override, overrides)} for overrides in grid]
        fixed = fixed_overrides(self.base, self.parser) if wants_scores(self.base) else None
        keys = naming_keys([{key: p.value() for key, p in run.items() if not p.is_delete()} for run in parsed], fixed)
        if not keys:
            return [None] * len(grid)
        plain = [self([str(p.input_line) for key, p in run.items() if key not in keys]) for run in parsed]
        names = [grid_name(str(cfg.name), _differences(run, keys, cfg)) for cfg, run in zip(plain, parsed, strict=True)]
        references = [grid_name(str(cfg.name), ()) for cfg in plain]
        return [
            (name, reference if reference in names and reference != name else None)
            for name, reference in zip(names, references, strict=True)
        ]

    def __call__(self, overrides: Sequence[str]) -> DictConfig:
        parsed = [(text, self.parser.parse_override(text)) for text in overrides]
        coordinates = {p.key_or_group: p.value() for _, p in parsed if p.key_or_group in _COORDINATES}
        others = tuple(text for text, p in parsed if p.key_or_group not in coordinates)
        if others not in self.composed:
            self.composed[others] = self.loader.load_sweep_config(self.base, list(others))
        cfg = copy.deepcopy(self.composed[others])
        for key, value in coordinates.items():
            cfg[key] = value
        return cfg


def _differences(run: Mapping[str, Override], keys: Sequence[str], plain: DictConfig) -> list[tuple[str, object]]:
    """Return the overrides of `keys` that change something in `plain`, the composition without them."""
    usual = OmegaConf.create({key: plain.hydra.runtime.choices.get(key, OmegaConf.select(plain, key)) for key in keys})
    values: Any = OmegaConf.to_container(usual)
    return [(key, run[key].value()) for key in keys if key in run and run[key].value() != values[key]]


def _quoted(value: Any) -> Any:
    """Return a value whose texts Hydra's parser reads as they are."""
    if isinstance(value, list):
        return [_quoted(item) for item in value]
    if isinstance(value, dict):
        return {key: _quoted(item) for key, item in value.items()}
    return QuotedString(value, Quote.single) if isinstance(value, str) and not value.isidentifier() else value
