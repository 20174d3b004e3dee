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
from brats_ablate.jobs.prepared_data import folds_and_patients
from brats_ablate.jobs.tables import require_draws

if TYPE_CHECKING:
    from pandas import DataFrame


def run(
    cfg: DictConfig,
    *,
    methods: dict[str, str] | list[str] | None,
    metrics: list[str],
    better: dict[str, str] | None,
    references: str,
    resamples: int,
    seed: int,
) -> None:
    """Rank `methods` on the cases that all of them have; conf/job/rank.yaml describes the keys.

    Raises:
        ConfigError: fewer than two methods, one that does not exist, an unknown metric or one of unknown direction, or
            evaluations by different definitions of the metrics.
        DataError: a method has no rows, or not the same cases as the first.
    """
    from rich.console import Console

    from brats_ablate.tables import ranking, terminal

    named = dict(methods) if isinstance(methods, Mapping) else {name: name for name in methods or []}
    if len(named) < 2:
        raise ConfigError("job.methods needs at least two: names of evaluations, .csv files, or folders of label files")
    require_draws(resamples, seed)
    read = {name: _rows(cfg, where, references) for name, where in named.items()}
    rows_of = {name: rows for name, (rows, _) in read.items()}
    policies = {name: policy for name, (_, policy) in read.items()}
    known = [m for m in next(iter(rows_of.values()))["metric"].unique() if not m.endswith("_voxels")]
    if not metrics or any(m not in known for m in metrics):
        raise ConfigError(f"job.metrics={metrics}: choose from {', '.join(known)}")
    directions = {**ranking.BETTER, **(better or {})}
    for metric in metrics:
        if directions.get(metric) not in (ranking.LOWER, ranking.HIGHER):
            raise ConfigError(f"job.metrics: say which {metric} is better, job.better={{{metric}:lower}} or higher")
    notes = _definitions(policies, metrics)
    cases = ranking.common_cases(rows_of)
    regions = build_scheme(cfg).region_names
    values = {name: ranking.score_array(name, rows, cases, regions, metrics) for name, rows in rows_of.items()}
    of_metrics = [directions[metric] for metric in metrics]
    _, patient_of = folds_and_patients(cfg)
    ranked = ranking.rank_methods(values, cases, of_metrics, resamples=resamples, seed=seed, patient_of=patient_of)
    folder = Path(cfg.paths.evaluation)
    ranking.write_ranking(ranked, folder)
    terminal.show([ranking.ranking_table(ranked, metrics, notes)], Console())
    print(f"{len(cases)} cases: {folder / 'ranking.csv'}, {folder / 'ranking_pairs.csv'}")


def _definitions(policies: Mapping[str, str], metrics: list[str]) -> list[str]:
    """Return the definitions of the metrics as a note; "" are those of a method that does not record them.

    Raises:
        ConfigError: those of two methods differ. Dice is the same by all.
    """
    recorded = {policy: name for name, policy in policies.items() if policy}
    if len(recorded) > 1 and metrics != ["dice"]:
        (policy, name), (other_policy, other), *_ = recorded.items()
        raise ConfigError(
            f"{name} and {other} were evaluated by different definitions of the metrics ({policy} — {other_policy}); "
            "run job=evaluate for all methods with one metrics=<option>"
        )
    unknown = [name for name, policy in policies.items() if not policy]
    notes = [f"Metrics: {policy}." for policy in recorded if metrics != ["dice"]]
    return [*notes, *([f"Definitions of the metrics not recorded: {', '.join(unknown)}."] if unknown else [])]


def _rows(cfg: DictConfig, where: str, references: str) -> tuple[DataFrame, str]:
    """Return rows and definitions of a named evaluation, of a .csv file, or of a folder of label files, scored now."""
    named = Path(cfg.paths.evaluation) / f"{where}.csv"
    path = named if named.is_file() else Path(where)
    if path.is_dir():
        from brats_ablate.jobs.evaluate import Sides, evaluate_folder

        scorer = instantiate(cfg.metrics)
        rows, problems = evaluate_folder(cfg, path, references, Sides(), scorer, None)
        if problems:
            case, reason = sorted(problems.items())[0]
            raise DataError(f"{path}: {len(problems)} cases cannot be scored ({case}: {reason}); fix them first")
        return rows, scorer.policy
    if path.suffix == ".csv" and path.is_file():
        from brats_ablate.tables.evaluation_record import read_record
        from brats_ablate.tables.results import read_evaluation

        return read_evaluation(path), read_record(path).policy
    raise ConfigError(f"job.methods: {where} is no evaluation, .csv file or folder; run job=evaluate job.name={where}")
