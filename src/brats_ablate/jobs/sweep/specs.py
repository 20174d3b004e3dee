"""A sweep → its tables: one column per experiment, grid point or combination of factors, in the order of the sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from brats_ablate.config.design import Design
from brats_ablate.config.locations import table_dirs
from brats_ablate.tables.scores import experiment_names
from brats_ablate.tables.spec import Column, TableSpec, load_table_specs, table_name

_PRIMARY = "config"
"""Name of the configuration that a command line without -cn starts from."""


def sweep_tables(cfg: DictConfig) -> Path:
    """Return the folder in which the tables of sweeps are recorded."""
    return Path(str(cfg.paths.tables)) / "sweeps"


def sweep_specs(sweep: Sequence[DictConfig], file: str) -> list[TableSpec]:
    """Return the tables of a sweep: one, or one per experiment that a design is applied to.

    A sweep of exactly the experiments of a table in `experiments/` has that one, with its published figures.

    Args:
        sweep: the composed runs.
        file: name of the configuration that the sweep was composed from.
    """
    first = {str(cfg.name): cfg for cfg in reversed(sweep)}
    runs = [first[name] for name in dict.fromkeys(str(cfg.name) for cfg in sweep)]
    node: Any = OmegaConf.to_container(runs[0].get("design") or OmegaConf.create())
    design = Design.from_config(node)
    if design is not None:
        n = len(design.combinations)
        specs = [_of_design(runs[i : i + n], design, file) for i in range(0, len(runs), n)]
        return specs if len(specs) == 1 else [replace(spec, name=f"sweep_{spec.baseline}") for spec in specs]
    names = [str(cfg.name) for cfg in runs]
    for spec in load_table_specs(table_dirs(), None):
        if {column.experiment for column in spec.columns} == set(names):
            return [spec]
    return [_of_grid(runs, file)]


def _of_design(runs: Sequence[DictConfig], design: Design, file: str) -> TableSpec:
    reference = str(runs[0].name)
    columns = [
        Column(design.title_of(list(cfg.design.on), reference), str(cfg.name), None, None, factors=tuple(cfg.design.on))
        for cfg in runs
    ]
    title = design.title or f"{reference}: {design.kind.replace('_', ' ')}, {', '.join(design.factors)}"
    return TableSpec(_name(file, reference), title, None, reference, tuple(columns))


def _of_grid(runs: Sequence[DictConfig], file: str) -> TableSpec:
    """Return the table of a grid or of experiments; a trained baseline that is not swept is added."""
    names = [str(cfg.name) for cfg in runs]
    baselines = {str(cfg.name): cfg.about.baseline for cfg in runs}
    trained = set(experiment_names(Path(str(runs[0].paths.runs))))
    missing = [name for name in dict.fromkeys(baselines.values()) if name in trained and name not in names]
    names = [*missing, *names]
    reference = next((name for name in names if name in baselines.values()), names[0])
    columns = [
        Column(name, name, None, None, baselines.get(name) if baselines.get(name) in names else None) for name in names
    ]
    return TableSpec(_name(file, reference), f"Variants of {reference}", None, reference, tuple(columns))


def _name(file: str, reference: str) -> str:
    return f"sweep_{reference}" if file == _PRIMARY else table_name(file)
