"""`job=rank`: the BraTS ranking of several methods. Reads and writes evaluation/.

`paths.evaluation/ranking.csv` holds a row per method, `ranking_pairs.csv` the tests between them. Methods are
evaluations, or folders of label files, which are scored first. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from brats_ablate.errors import ConfigError, DataError
from brats_ablate.jobs.build import build_scheme, instantiate

if TYPE_CHECKING:
    from pandas import DataFrame


def run(
    cfg: DictConfig,
    *,
    methods: dict[str, str] | list[str] | None,
    metrics: list[str],
    references: str,
    resamples: int,
    seed: int,
) -> None:
    """Rank `methods` on the cases that all of them have.

    Raises:
        ConfigError: fewer than two methods, or an unknown metric.
        DataError: a method has no rows, or not the same cases as the first.
    """
    from rich.console import Console

    from brats_ablate.tables import ranking, terminal

    named = dict(methods) if isinstance(methods, Mapping) else {name: name for name in methods or []}
    if len(named) < 2:
        raise ConfigError("job.methods needs at least two: names of evaluations, .csv files, or folders of label files")
    rows_of = {name: _rows(cfg, where, references) for name, where in named.items()}
    known = [m for m in next(iter(rows_of.values()))["metric"].unique() if not m.endswith("_voxels")]
    if not metrics or any(m not in known for m in metrics):
        raise ConfigError(f"job.metrics={metrics}: choose from {', '.join(known)}")
    cases = ranking.common_cases(rows_of)
    regions = build_scheme(cfg).region_names
    values = {name: ranking.score_array(name, rows, cases, regions, metrics) for name, rows in rows_of.items()}
    ranked = ranking.rank_methods(values, cases, metrics, resamples=resamples, seed=seed)
    folder = Path(cfg.paths.evaluation)
    ranking.write_ranking(ranked, folder)
    terminal.show([ranking.ranking_table(ranked, metrics)], Console())
    print(f"{len(cases)} cases: {folder / 'ranking.csv'}, {folder / 'ranking_pairs.csv'}")


def _rows(cfg: DictConfig, where: str, references: str) -> DataFrame:
    """Return the rows of a named evaluation, of a .csv file, or of a folder of label files, scored now."""
    named = Path(cfg.paths.evaluation) / f"{where}.csv"
    path = named if named.is_file() else Path(where)
    if path.is_dir():
        from brats_ablate.jobs.evaluate import Sides, evaluate_folder

        rows, problems = evaluate_folder(cfg, path, references, Sides(), instantiate(cfg.metrics), None)
        if problems:
            case, reason = sorted(problems.items())[0]
            raise DataError(f"{path}: {len(problems)} cases cannot be scored ({case}: {reason}); fix them first")
        return rows
    if path.suffix == ".csv" and path.is_file():
        from brats_ablate.tables.results import read_evaluation

        return read_evaluation(path)
    raise DataError(f"job.methods: {where} is no evaluation, .csv file or folder; run job=evaluate job.name={where}")
