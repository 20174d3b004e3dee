"""`job=rank`: the BraTS ranking of several methods. Reads and writes evaluation/.

`paths.evaluation/ranking.csv` holds a row per method, `ranking_pairs.csv` the tests between them. Methods are
evaluations, or folders of label files, which are scored first. No torch.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig

from brats_ablate.errors import ConfigError, DataError
from brats_ablate.labels import REGIONS
from brats_ablate.runtime.files import atomic_write

if TYPE_CHECKING:
    from brats_ablate.tables.ranking import Ranking

Values = dict[str, dict[tuple[str, str], float]]


def run(
    cfg: DictConfig,
    *,
    methods: dict[str, str] | list[str] | None,
    metrics: list[str],
    references: str,
    scorer: dict[str, Any],
    resamples: int,
    seed: int,
) -> None:
    """Rank `methods` on the cases that all of them have.

    Raises:
        ConfigError: fewer than two methods, or a metric that nobody computes.
        DataError: a method has no rows, or not the same cases as the first.
    """
    from brats_ablate.metrics.case_metrics import METRICS
    from brats_ablate.tables.ranking import rank_methods

    named = dict(methods) if isinstance(methods, Mapping) else {name: name for name in methods or []}
    if len(named) < 2:
        raise ConfigError("job.methods needs at least two: names of evaluations, .csv files, or folders of label files")
    unknown = [m for m in metrics if m not in METRICS]
    if unknown or not metrics:
        raise ConfigError(f"job.metrics={metrics}: choose from {', '.join(METRICS)}")
    found = {name: _values(cfg, where, references, scorer) for name, where in named.items()}
    cases = _common_cases(found)
    values = {name: _array(name, of_case, cases, metrics) for name, of_case in found.items()}
    ranking = rank_methods(values, cases, metrics, resamples=resamples, seed=seed)
    folder = Path(cfg.paths.evaluation)
    write(ranking, folder)
    show(ranking, metrics)
    print(f"{len(cases)} cases: {folder / 'ranking.csv'}, {folder / 'ranking_pairs.csv'}")


def write(ranking: Ranking, folder: Path) -> None:
    """Write `ranking.csv` (a row per method, best first) and `ranking_pairs.csv` (a row per pair)."""
    order = np.argsort(ranking.scores, kind="stable")
    rows = [
        {
            "place": place,
            "method": ranking.methods[i],
            "score": f"{ranking.scores[i]:.6f}",
            "low": f"{ranking.intervals[i, 0]:.6f}",
            "high": f"{ranking.intervals[i, 1]:.6f}",
            "first": f"{ranking.first[i]:.4f}",
            "place_low": f"{ranking.places[i, 0]:g}",
            "place_high": f"{ranking.places[i, 1]:g}",
            "cases": len(ranking.cases),
        }
        for place, i in enumerate(order, start=1)
    ]
    _write_csv(folder / "ranking.csv", rows)
    pairs = [
        {
            "better": ranking.methods[i],
            "worse": ranking.methods[j],
            "difference": f"{ranking.scores[j] - ranking.scores[i]:.6f}",
            "p_holm": f"{ranking.p_values[i, j]:.6f}",
        }
        for a, i in enumerate(order)
        for j in order[a + 1 :]
    ]
    _write_csv(folder / "ranking_pairs.csv", pairs)


def show(ranking: Ranking, metrics: Sequence[str]) -> None:
    """Print the ranking; the last column says whether the next place is distinguishable."""
    from rich.console import Console

    from brats_ablate.tables import terminal
    from brats_ablate.tables.text_tables import Sheet

    rows = []
    order = np.argsort(ranking.scores, kind="stable")
    for place, i in enumerate(order, start=1):
        low, high = ranking.intervals[i]
        p = f"{ranking.p_values[i, order[place]]:.4f}" if place < len(order) else ""
        places = "{:g}–{:g}".format(*ranking.places[i])
        first = f"{ranking.first[i]:.0%}"
        score = f"{ranking.scores[i]:.3f}"
        rows.append((ranking.methods[i], str(place), score, f"{low:.3f}–{high:.3f}", places, first, p))
    header = ("", "place", "score", "95 % interval", "95 % places", "is first", "p against the next")
    title = f"Ranking over {len(ranking.cases)} cases by {', '.join(metrics)}; lower is better"
    terminal.show([Sheet("ranking", title, header, tuple(rows))], Console())


def _values(cfg: DictConfig, where: str, references: str, scorer: dict[str, Any]) -> Values:
    """Case -> (region, metric) -> value, of a named evaluation, of a .csv file, or of a folder scored now."""
    named = Path(cfg.paths.evaluation) / f"{where}.csv"
    file = named if named.is_file() else Path(where)
    if file.is_dir():
        from hydra.utils import instantiate

        from brats_ablate.jobs.evaluate import evaluate

        rows, problems = evaluate(cfg, file, references, None, instantiate(scorer), None)
        if problems:
            case, reason = sorted(problems.items())[0]
            raise DataError(f"{len(problems)} cases of {file} cannot be scored ({case}: {reason}); mend them first")
    elif file.suffix == ".csv" and file.is_file():
        with file.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    else:
        raise DataError(
            f"job.methods: {where} is no evaluation, .csv file or folder; run job=evaluate job.name={where}"
        )
    values: Values = {}
    for row in rows:
        values.setdefault(row["case"], {})[row["region"], row["metric"]] = float(row["value"])
    return values


def _common_cases(found: Mapping[str, Values]) -> list[str]:
    (first, reference), *others = found.items()
    for name, values in others:
        different = sorted(reference.keys() ^ values.keys())
        if different:
            have, lacks = (first, name) if different[0] in reference else (name, first)
            raise DataError(
                f"{have} has scores of {different[0]} and {lacks} has not ({len(different)} such cases); a ranking "
                "needs the same cases of every method"
            )
    return sorted(reference)


def _array(name: str, values: Values, cases: Sequence[str], metrics: Sequence[str]) -> np.ndarray:
    """(cases, regions, metrics)."""
    try:
        return np.array([[[values[c][region, m] for m in metrics] for region in REGIONS] for c in cases])
    except KeyError as error:
        region, metric = error.args[0]
        raise DataError(f"{name} has no {metric} of {region} for every case; run job=evaluate for it again") from error


def _write_csv(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with atomic_write(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
