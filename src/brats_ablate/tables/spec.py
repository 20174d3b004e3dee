"""A table as data: the experiments that are its columns, their baseline, and what the paper printed.

One YAML file in `experiments/` is one table; a user adds a table by adding a file. First step of `job=tables`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from brats_ablate.errors import ConfigError
from brats_ablate.runtime.text import first_line, suggest

HALF_A_DIGIT = 5e-5 + 1e-9
"""The paper prints four decimals."""
CASE_ROWS = "cases"
"""Stem of the file of case rows that `job=tables` writes next to the tables."""

_TABLE_KEYS = frozenset({"title", "paper", "baseline", "columns", "sweep", "ranking"})
"""`sweep` names the file of `sweeps/` that trains the table, for readers."""
_COLUMN_KEYS = frozenset({"title", "experiment", "evaluation", "against", "factors", "paper"})
_PAPER_KEYS = frozenset({"folds", "mean", "erratum", "note", "epochs"})
_TRAINED, _EVALUATED = "trained", "evaluated"


@dataclass(frozen=True)
class PaperFigures:
    """What was published for one column: mean Dice per fold and their mean, and the erratum if one is known."""

    folds: tuple[float, ...]
    """From fold 0 on; fewer than the table has where only these are published."""
    mean: float | None
    """None if no mean over all folds is published."""
    erratum: str | None = None
    note: str | None = None
    """Said below the table."""
    epochs: int = 1_000
    """Of the training run that they are of."""

    @property
    def recomputed(self) -> float:
        """The mean of the printed folds."""
        return sum(self.folds) / len(self.folds)

    @property
    def is_misprint(self) -> bool:
        """Whether the printed mean is not the mean of the printed folds to the digits printed."""
        return self.mean is not None and abs(self.recomputed - self.mean) > HALF_A_DIGIT


@dataclass(frozen=True)
class Column:
    """One column: an experiment's validation scores, or the rows that `job=evaluate` wrote under a name."""

    title: str
    experiment: str | None
    evaluation: str | None
    paper: PaperFigures | None
    baseline: str | None = None
    """Key of the column that this one is compared with (`against` in the file), if not the table's baseline."""
    factors: tuple[str, ...] | None = None
    """In a design, the factors that are on."""

    @property
    def key(self) -> str:
        """The column's name in the table's file."""
        return self.evaluation or self.experiment or self.title

    @property
    def source(self) -> str:
        """Where its scores come from, over all tables: an evaluation may have the name of its experiment."""
        return f"{self.evaluation}, evaluated" if self.evaluation else self.key


@dataclass(frozen=True)
class TableSpec:
    """One table: its columns in order and the key of the baseline that the others are compared with."""

    name: str
    title: str
    paper: str | None
    """Where in the paper."""
    baseline: str | None
    columns: tuple[Column, ...]
    ranking: tuple[float, ...] = ()
    """Published ranking scores, best first (the paper's table 5)."""
    selects: str | None = None
    """`columns: trained`: one column for every experiment that has runs; `columns: evaluated`: for every evaluation."""
    hides_paper: bool = False
    """The paper's figures were left out."""

    def baseline_of(self, index: int) -> int | None:
        """Return the index of the column that column `index` is compared with; None for the baseline itself."""
        key = self.columns[index].baseline or self.baseline
        baseline = next((i for i, c in enumerate(self.columns) if c.key == key), None)
        return None if baseline == index else baseline

    def is_trained(self, *columns: int) -> bool:
        """Return whether all of these columns are scored by their validation, not by `job=evaluate`."""
        return not any(self.columns[i].evaluation for i in columns)

    @property
    def factors(self) -> tuple[str, ...]:
        """Factors of the design, if the table is that of a full factorial; else none."""
        on = [frozenset(c.factors) for c in self.columns if c.factors is not None]
        if len(on) < len(self.columns) or not is_full_factorial(on):
            return ()
        return tuple(dict.fromkeys(name for c in self.columns for name in c.factors or ()))

    def expanded(self, trained: Iterable[str], evaluated: Iterable[str]) -> TableSpec:
        """Return this table with its columns filled in if it selects all experiments with runs or all evaluations.

        The evaluation `ds_tuned` is compared with `ds`, the longest matching prefix.
        """
        if self.selects == _TRAINED:
            return replace(self, columns=tuple(Column(name, name, None, None) for name in trained))
        if self.selects == _EVALUATED:
            names = sorted(evaluated)
            prefixes = {name: [other for other in names if name.startswith(f"{other}_")] for name in names}
            columns = (Column(n, None, n, None, max(prefixes[n], key=len, default=None)) for n in names)
            return replace(self, columns=tuple(columns))
        return self

    def with_baseline(self, key: str) -> TableSpec:
        """Return a table that selects its columns with this baseline, if it has such a column; any other as it is."""
        return replace(self, baseline=key) if self.selects and key in {c.key for c in self.columns} else self

    def without_paper_figures(self) -> TableSpec:
        """Return the table without what the paper printed for its columns."""
        columns = tuple(replace(column, paper=None) for column in self.columns)
        return replace(self, columns=columns, hides_paper=columns != self.columns)


def load_table_specs(folders: Sequence[Path], names: Sequence[str] | None) -> list[TableSpec]:
    """Read the named tables, or all; a name is a file's stem in one of `folders` (a later folder wins) or a path.

    Raises:
        ConfigError: a name that is neither.
    """
    known = {file.stem: file for folder in folders for file in sorted(folder.glob("*.yaml"))}
    files: list[Path] = []
    for name in names if names is not None else sorted(known, key=lambda stem: (not stem.startswith("table"), stem)):
        if name in known:
            files.append(known[name])
        elif name.endswith((".yaml", ".yml")) and Path(name).is_file():
            files.append(Path(name))
        else:
            hint = suggest(name, sorted(known), otherwise="choose from")
            raise ConfigError(f"job.tables: there is no table {name}; {hint}")
    return [load_table_spec(file) for file in files]


def load_table_spec(path: Path) -> TableSpec:
    """Read one file of `experiments/`.

    Raises:
        ConfigError: the file is not a table; names the file and the key.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML ({first_line(error)}); correct the file") from error
    if not isinstance(tree, dict) or "title" not in tree:
        raise ConfigError(f"{path} has no title; a table needs title, baseline and columns")
    _check_keys(path, tree, _TABLE_KEYS, "")
    selects = tree["columns"] if tree.get("columns") in (_TRAINED, _EVALUATED) else None
    nodes = [] if selects else tree.get("columns") or []
    _require_list(path, "columns", nodes)
    _require_numbers(path, "ranking", tree.get("ranking") or [])
    spec = TableSpec(
        name=table_name(path.stem),
        title=str(tree["title"]),
        paper=_text(tree, "paper"),
        baseline=_text(tree, "baseline"),
        columns=tuple(_column(path, i, node) for i, node in enumerate(nodes)),
        ranking=tuple(tree.get("ranking") or ()),
        selects=selects,
    )
    if selects is None:
        _check_columns(path, spec)
    return spec


def table_name(file: str) -> str:
    """Return the name of the table of a file, which is the stem of all that is written of it: that of `file`."""
    return f"table_{file}" if file == CASE_ROWS else file


def is_full_factorial(combinations: Sequence[frozenset[str]]) -> bool:
    """Return whether these are all combinations of two or more factors, once each."""
    factors = frozenset().union(*combinations)
    return len(factors) > 1 and len(combinations) == len(set(combinations)) == 2 ** len(factors)


def to_yaml(spec: TableSpec) -> str:
    """Return a table without published figures as the text of its file."""
    columns = []
    for column in spec.columns:
        entries = {"title": column.title, "experiment": column.experiment, "evaluation": column.evaluation}
        entries |= {"against": column.baseline}
        factors = {} if column.factors is None else {"factors": list(column.factors)}
        columns.append({key: value for key, value in entries.items() if value is not None} | factors)
    tree = {"title": spec.title, "baseline": spec.baseline, "columns": columns}
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def _check_columns(path: Path, spec: TableSpec) -> None:
    keys = [c.key for c in spec.columns]
    if duplicates := [key for key in keys if keys.count(key) > 1]:
        raise ConfigError(f"{path} has two columns {duplicates[0]}; remove one")
    baselines = {"baseline": spec.baseline} | {f"columns[{i}].against": c.baseline for i, c in enumerate(spec.columns)}
    for key, value in baselines.items():
        if value is not None and value not in keys:
            raise ConfigError(f"{path}: {key}={value} is not a column; choose one of {', '.join(keys)}")
    if not keys and not spec.ranking:
        raise ConfigError(f"{path} has no columns; list the experiments that it compares")


def _column(path: Path, index: int, node: Any) -> Column:
    where = f"columns[{index}]"
    if not isinstance(node, dict) or "title" not in node:
        raise ConfigError(f"{path}: {where} has no title; write title and experiment")
    _check_keys(path, node, _COLUMN_KEYS, f"{where}.")
    if node.get("experiment") and node.get("evaluation"):
        raise ConfigError(f"{path}: {where} names both experiment and evaluation; keep one")
    figures = node.get("paper")
    if figures is not None:
        if not isinstance(figures, dict):
            raise ConfigError(f"{path}: {where}.paper={figures} must have the keys folds and mean")
        _check_keys(path, figures, _PAPER_KEYS, f"{where}.paper.")
        if not figures.get("folds") or "mean" not in figures:
            raise ConfigError(f"{path}: {where}.paper needs folds and mean (null where none is published)")
        _require_numbers(path, f"{where}.paper.folds", figures["folds"])
        _require_numbers(path, f"{where}.paper.mean", [figures["mean"]] if figures["mean"] is not None else [])
        mean = None if figures["mean"] is None else float(figures["mean"])
        epochs = figures.get("epochs", PaperFigures.epochs)
        _require_numbers(path, f"{where}.paper.epochs", [epochs])
        words = figures.get("erratum"), figures.get("note")
        figures = PaperFigures(tuple(figures["folds"]), mean, *words, epochs)
    factors = node.get("factors")
    if factors is not None and not (isinstance(factors, list) and all(isinstance(name, str) for name in factors)):
        raise ConfigError(f"{path}: {where}.factors={factors} must be the list of factors that are on, e.g. [deeper]")
    return Column(
        title=str(node["title"]),
        experiment=_text(node, "experiment"),
        evaluation=_text(node, "evaluation"),
        paper=figures,
        baseline=_text(node, "against"),
        factors=None if factors is None else tuple(factors),
    )


def _text(node: Mapping[str, Any], key: str) -> str | None:
    """Return a value that is a text, also where YAML reads it as a number."""
    value = node.get(key)
    return None if value is None else str(value)


def _require_list(path: Path, key: str, value: Any) -> None:
    if not isinstance(value, list):
        raise ConfigError(f"{path}: {key}={value} must be a list")


def _require_numbers(path: Path, key: str, values: Any) -> None:
    _require_list(path, key, values)
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{path}: {key} contains {value!r}, which is no number")


def _check_keys(path: Path, node: Mapping[str, Any], known: frozenset[str], prefix: str) -> None:
    for key in node:
        if key not in known:
            hint = suggest(str(key), sorted(known), prefix=prefix)
            raise ConfigError(f"{path}: {prefix}{key} is not a known key; {hint}")
