"""A table as data: which experiments are its columns, what they are held against, what the paper printed.

One YAML file in `experiments/` is one table; a user adds a table by adding a file. First step of `job=tables`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from brats_ablate.errors import ConfigError

HALF_A_DIGIT = 5e-5 + 1e-9
"""The paper prints four decimals."""

_STUDY_KEYS = frozenset({"title", "paper", "baseline", "columns", "sweep", "ranking"})
_COLUMN_KEYS = frozenset({"title", "experiment", "evaluation", "against", "paper"})
_TRAINED, _EVALUATED = "trained", "evaluated"
_PAPER_KEYS = frozenset({"folds", "mean", "erratum"})


@dataclass(frozen=True)
class PaperFigures:
    """What the paper printed for one column: mean Dice per fold, their mean, and what is known to be wrong with it."""

    folds: tuple[float, ...]
    mean: float
    erratum: str | None = None

    @property
    def recomputed(self) -> float:
        """The mean of the printed folds."""
        return sum(self.folds) / len(self.folds)

    @property
    def is_misprint(self) -> bool:
        """Whether the printed mean is not the mean of the printed folds to the digits printed."""
        return abs(self.recomputed - self.mean) > HALF_A_DIGIT


@dataclass(frozen=True)
class Column:
    """One column: an experiment's validation scores, or the rows that `job=evaluate` wrote under a name."""

    title: str
    experiment: str | None
    evaluation: str | None
    paper: PaperFigures | None
    against: str | None = None
    """Key of the column that this one is held against, where that is not the study's baseline."""

    @property
    def key(self) -> str:
        """What the column is called in the study's file."""
        return self.evaluation or self.experiment or self.title

    @property
    def source(self) -> str:
        """Where its scores come from, over all studies: an evaluation may bear the name of its experiment."""
        return f"{self.evaluation}, evaluated" if self.evaluation else self.key


@dataclass(frozen=True)
class TableSpec:
    """One table: its columns in order and the key of the one that the others are held against."""

    name: str
    title: str
    paper: str | None
    """Where in the paper."""
    baseline: str | None
    columns: tuple[Column, ...]
    sweep: str | None = None
    """The file of `sweeps/` that trains it."""
    ranking: tuple[float, ...] = ()
    """Published ranking scores, best first (the paper's table 5)."""
    takes: str | None = None
    """`columns: trained`: one column for every experiment that has runs; `columns: evaluated`: for every evaluation."""

    def against(self, index: int) -> int | None:
        """The index of the column that column `index` is held against; None for the baseline itself."""
        wanted = self.columns[index].against or self.baseline
        found = next((i for i, c in enumerate(self.columns) if c.key == wanted), None)
        return None if found == index else found

    def with_all(self, trained: Iterable[str], evaluated: Iterable[str]) -> TableSpec:
        """This study, with its columns if it takes all of a kind.

        Args:
            trained: names of experiments that have runs.
            evaluated: names of evaluations; `ds_tuned` is held against `ds`, the longest name that it goes on from.
        """
        if self.takes == _TRAINED:
            return replace(self, columns=tuple(Column(name, name, None, None) for name in trained))
        if self.takes == _EVALUATED:
            names = sorted(evaluated)
            origin = {name: [other for other in names if name.startswith(f"{other}_")] for name in names}
            columns = (Column(n, None, n, None, max(origin[n], key=len, default=None)) for n in names)
            return replace(self, columns=tuple(columns))
        return self


def load_table_spec(path: Path) -> TableSpec:
    """Read one file of `experiments/`.

    Raises:
        ConfigError: the file is not a study; names the file and the key.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML ({str(error).splitlines()[0]}); correct the file") from error
    if not isinstance(tree, dict) or "title" not in tree:
        raise ConfigError(f"{path} has no title; a table needs title, baseline and columns")
    _only(path, tree, _STUDY_KEYS, "")
    takes = tree["columns"] if tree.get("columns") in (_TRAINED, _EVALUATED) else None
    nodes = [] if takes else tree.get("columns") or []
    columns = tuple(_column(path, i, node) for i, node in enumerate(nodes))
    study = TableSpec(
        name=path.stem,
        title=str(tree["title"]),
        paper=tree.get("paper"),
        baseline=tree.get("baseline"),
        columns=columns,
        sweep=tree.get("sweep"),
        ranking=tuple(tree.get("ranking") or ()),
        takes=takes,
    )
    keys = [c.key for c in columns]
    if len(set(keys)) < len(keys):
        twice = next(k for k in keys if keys.count(k) > 1)
        raise ConfigError(f"{path} has two columns {twice}; remove one")
    wanted = {"baseline": study.baseline} | {f"columns[{i}].against": c.against for i, c in enumerate(columns)}
    for key, value in wanted.items():
        if value is not None and value not in keys and takes is None:
            raise ConfigError(f"{path}: {key}={value} is not a column; choose one of {', '.join(keys)}")
    if not columns and not study.ranking and takes is None:
        raise ConfigError(f"{path} has no columns; list the experiments that it compares")
    return study


def load_table_specs(folders: list[Path], names: list[str] | None) -> list[TableSpec]:
    """The named studies, or all; a name is a file's stem in one of `folders` (a later folder wins) or a path.

    Raises:
        ConfigError: a name that is neither.
    """
    known = {file.stem: file for folder in folders for file in sorted(folder.glob("*.yaml"))}
    chosen: list[Path] = []
    for name in names if names is not None else sorted(known, key=_paper_first):
        if name in known:
            chosen.append(known[name])
        elif name.endswith((".yaml", ".yml")) and Path(name).is_file():
            chosen.append(Path(name))
        else:
            close = difflib.get_close_matches(name, list(known), n=1)
            hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(sorted(known)) or 'none'}"
            raise ConfigError(f"job.tables: there is no table {name}; {hint}")
    return [load_table_spec(file) for file in chosen]


def _paper_first(name: str) -> tuple[bool, str]:
    return (not name.startswith("table"), name)


def _column(path: Path, index: int, node: Any) -> Column:
    where = f"columns[{index}]"
    if not isinstance(node, dict) or "title" not in node:
        raise ConfigError(f"{path}: {where} has no title; write title and experiment")
    _only(path, node, _COLUMN_KEYS, f"{where}.")
    if node.get("experiment") and node.get("evaluation"):
        raise ConfigError(f"{path}: {where} names both experiment and evaluation; keep one")
    figures = node.get("paper")
    if figures is not None:
        _only(path, figures, _PAPER_KEYS, f"{where}.paper.")
        if not figures.get("folds") or "mean" not in figures:
            raise ConfigError(f"{path}: {where}.paper needs folds and mean")
        figures = PaperFigures(tuple(figures["folds"]), float(figures["mean"]), figures.get("erratum"))
    return Column(str(node["title"]), node.get("experiment"), node.get("evaluation"), figures, node.get("against"))


def _only(path: Path, node: Mapping[str, Any], known: frozenset[str], prefix: str) -> None:
    for key in node:
        if key not in known:
            close = difflib.get_close_matches(str(key), sorted(known), n=1)
            hint = f"did you mean {prefix}{close[0]}?" if close else f"known are {', '.join(sorted(known))}"
            raise ConfigError(f"{path}: {prefix}{key} is not a known key; {hint}")
