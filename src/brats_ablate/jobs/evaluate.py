"""`job=evaluate`: score label files. Reads predictions/, writes evaluation/<name>.csv.

Predictions can be of `job=predict` or of any other program; references are those of the prepared set, or files.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig

from brats_ablate.config.data_options import known_schemes, scheme_named
from brats_ablate.data.validation import are_swapped, fitting_schemes
from brats_ablate.errors import ConfigError, DataError
from brats_ablate.inference.prediction_store import PredictionFolder, find_label_files
from brats_ablate.jobs.build import build_scheme, instantiate, layout_of, open_store
from brats_ablate.jobs.predict.case_source import PREPARED
from brats_ablate.runtime.files import read_json, write_json
from brats_ablate.runtime.output import print_message
from brats_ablate.runtime.text import counted

if TYPE_CHECKING:
    from pandas import DataFrame

    from brats_ablate.labels.scheme import LabelScheme
    from brats_ablate.metrics.case_metrics import Scorer
    from brats_ablate.tables.table import Table


_MOST_REASONS = 3


def run(
    cfg: DictConfig,
    *,
    name: str,
    predictions: str | None,
    references: str,
    prediction_labels: str | None,
    reference_labels: str | None,
    accept_labels: bool,
    workers: int | None,
) -> None:
    """Score every prediction that has a reference by `cfg.metrics`; conf/job/evaluate.yaml describes the keys.

    Raises:
        ConfigError: a key is impossible, or a folder is missing.
        DataError: nothing can be scored, or cases are invalid; the rows of all others are written
            before, unless an earlier result has more cases.
    """
    scorer: Scorer = instantiate(cfg.metrics)
    folder = Path(predictions) if predictions else Path(cfg.paths.predictions) / name
    sides = Sides(prediction_labels, reference_labels, accept_labels)
    rows, problems = evaluate_folder(cfg, folder, references, sides, scorer, workers)
    labels = sides.schemes(cfg)[0]
    predicted_by = PredictionFolder(folder).manifest()  # the folder can be predicted again later
    show_result(cfg, name, rows, folder, references, scorer, labels, predicted_by)
    scored = set(rows["case"])
    if missing := sorted(_references(cfg, references, scored).keys() - scored - problems.keys()):
        print(f"{len(missing)} more cases of {references} have a reference, but no prediction ({missing[0]} …)")
    raise_problems(problems)


def show_result(
    cfg: DictConfig,
    name: str,
    rows: DataFrame,
    folder: Path,
    references: str,
    scorer: Scorer,
    labels: LabelScheme,
    predicted_by: Mapping[str, Any],
    *,
    cases: str = "cases",
    folds: str | None = None,
) -> None:
    """Write the evaluation `name` of the predictions in `folder`, show its means, and print where it is.

    `predicted_by` is what is recorded about the networks, `folds` whose folds the rows have, if not those of the data;
    `cases` says what the rows are of.
    """
    from rich.console import Console

    from brats_ablate.tables import terminal

    file = Path(cfg.paths.evaluation) / f"{name}.csv"
    record = {"predictions": str(folder), "references": references, "policy": scorer.policy, "labels": labels.name}
    kept = write_result(rows, record | ({"folds": folds} if folds else {}) | {"predicted_by": predicted_by}, file)
    terminal.show([means_table(name, rows, labels.averaged_names, scorer.policy)], Console())
    print(f"{rows['case'].nunique()} {cases}: {file}" if kept is None else kept)


def raise_problems(problems: Mapping[str, str]) -> None:
    """Raise DataError if cases are not scored, with the distinct reasons."""
    if problems:
        raise DataError(
            f"{len(problems)} cases are not scored ({_counted(problems)}); fix them and run the same command again"
        )


def write_result(rows: DataFrame, provenance: Mapping[str, Any], file: Path) -> str | None:
    """Write rows and their origin; an earlier result is kept as `<name>.csv.previous`.

    An earlier result with more cases is not replaced: then nothing is written, and a sentence says so.
    """
    from brats_ablate.tables.results import read_evaluation
    from brats_ablate.tables.writers import write_csv

    if file.exists():
        before = read_evaluation(file)["case"].nunique()
        if before > rows["case"].nunique():
            return f"{file} has {before} cases and is kept; nothing is written. Delete it to replace it by these rows."
        shutil.copy2(file, file.with_name(f"{file.name}.previous"))
    write_csv(rows, file)
    write_json(file.with_suffix(".json"), dict(provenance))
    return None


class Sides(NamedTuple):
    """Which label values predictions and references have: options of `labels`, None for the data's own."""

    predictions: str | None = None
    references: str | None = None
    accept_labels: bool = False
    """Whether predictions with two tissues swapped are scored."""

    def schemes(self, cfg: DictConfig) -> tuple[LabelScheme, LabelScheme]:
        """Return the schemes of predictions and references."""
        predicted, reference = (
            scheme_named(option) if option else build_scheme(cfg) for option in (self.predictions, self.references)
        )
        return predicted, reference


def evaluate_folder(
    cfg: DictConfig, folder: Path, references: str, sides: Sides, scorer: Scorer, workers: int | None
) -> tuple[DataFrame, dict[str, str]]:
    """Score all predictions in `folder`; see `evaluate_files`.

    Raises:
        DataError: the networks that predicted a case were trained on it, or its folds were others.
    """
    from brats_ablate.data.folds import fingerprint as fingerprint_of
    from brats_ablate.data.folds import fold_of_case, patient_of_case
    from brats_ablate.data.store import COHORT, FOLDS
    from brats_ablate.tables.evaluation_record import EvaluationRecord

    layout, prepared = layout_of(cfg), Path(cfg.paths.prepared)
    folds, known = fold_of_case(prepared), [*patient_of_case(prepared)]
    if references != PREPARED:
        known += find_label_files(Path(references), layout, known)
    files = find_label_files(folder, layout, known)
    if references == PREPARED:  # those that were prepared for prediction have no segmentation to be compared with
        files = {case_id: file for case_id, file in files.items() if case_id in folds or case_id not in known}
    manifest = PredictionFolder(folder).manifest()
    predicted_in, file = (manifest.get("folds") or {}).get("fingerprint"), prepared / FOLDS
    has_folds = predicted_in is not None and folds.keys() & files.keys()  # not if other cases are prepared
    if has_folds and predicted_in != fingerprint_of(read_json(file)["validation"]):
        raise DataError(
            f"{folder} was predicted out of other folds than those of {file}; predict again, or restore that file"
        )
    record = EvaluationRecord("", "", manifest)
    fingerprint = read_json(prepared / COHORT).get("fingerprint")
    if trained_on := sorted(record.trained_on(folds, fingerprint) & files.keys()):
        raise DataError(
            f"{len(trained_on)} cases of {folder} ({trained_on[0]} …) were training data of networks that predicted "
            "them; score new cases only, or those of job=predict job.source=prepared, which are predicted out of fold"
        )
    return evaluate_files(cfg, files, folder, references, sides, scorer, workers, folds)


def evaluate_files(
    cfg: DictConfig,
    files: Mapping[str, Path],
    folder: Path,
    references: str,
    sides: Sides,
    scorer: Scorer,
    workers: int | None,
    fold_of_case: Mapping[str, int],
) -> tuple[DataFrame, dict[str, str]]:
    """Score the label file of each case, all in or below `folder`, by `metrics.evaluate.evaluate`.

    Returns:
        The rows, with the fold that `fold_of_case` gives; case id -> reason of those that are not scored.

    Raises:
        ConfigError: the regions of predictions and references do not mean the same.
        DataError: nothing can be scored, or the predictions look as if two tissues were swapped.
    """
    from brats_ablate.metrics.evaluate import Task, evaluate

    labels, reference_labels = sides.schemes(cfg)
    if sides.references and references == PREPARED:
        raise ConfigError(
            f"job.reference_labels={sides.references} is of reference files, but the references are the prepared data, "
            f"of labels={cfg.labels.name}; leave it out, or set job.references to a folder"
        )
    if not labels.has_regions_of(reference_labels):
        raise ConfigError(
            f"predictions of labels={labels.name} and references of labels={reference_labels.name} have different "
            "regions; set job.prediction_labels and job.reference_labels to schemes of the same regions"
        )
    found = _references(cfg, references, files)
    reference_of = {case_id: found[case_id] for case_id in files if case_id in found}
    if not reference_of:
        raise DataError(f"no case of {folder} has a reference in {references}; check job.references and the file names")
    tasks = [Task(c, files[c], file, labels, reference_labels) for c, file in sorted(reference_of.items())]
    rows, problems, swapped = evaluate(tasks, scorer, fold_of_case, workers)
    reasons = dict.fromkeys(files.keys() - reference_of.keys(), "it has no reference")
    reasons |= {case_id: problem.reason for case_id, problem in problems.items()}
    values = {value for problem in problems.values() for value in problem.values}
    known = [s for s in known_schemes() if list(s.tissues) == list(labels.tissues) and s.has_regions_of(labels)]
    fitting = fitting_schemes(values, list(files), known) if values else []
    hint = f"; the values of these predictions fit job.prediction_labels={' or '.join(fitting)}" if fitting else ""
    if rows.empty:
        raise DataError(f"no case of {folder} is scored, and nothing is written ({_counted(reasons)}{hint})")
    if not sides.accept_labels and not PredictionFolder(folder).manifest() and sum(swapped) > len(swapped) / 2:
        outer, inner = labels.outside_inside
        other = [s for s in known if set(values) <= set(s.label_of_value) and are_swapped(s, labels)]
        remedy = f"job.prediction_labels={' or '.join(s.name for s in other) or '<the scheme of these values>'}"
        raise DataError(
            f"in {sum(swapped)} of {len(swapped)} cases of {folder} {outer} and {inner} lie where the reference has "
            f"the respective other one, as if their values were swapped; set {remedy}, or "
            "job.accept_labels=true to score them as they are"
        )
    if (rows.loc[rows["metric"] == "dice", "value"] == 1).all():
        cases = counted(rows["case"].nunique(), "case")
        print_message(f"every Dice is 1: {folder} and the references agree in {cases}; are these predictions?")
    unknown = {case_id for case_id, problem in problems.items() if problem.values}
    return rows, {case_id: reason + hint * (case_id in unknown) for case_id, reason in reasons.items()}


def _counted(problems: Mapping[str, str]) -> str:
    """Return the distinct reasons, most frequent first, each with its number of cases and one of them."""
    cases: dict[str, list[str]] = {}
    for case_id, reason in sorted(problems.items()):
        kind = re.sub(r"\S*/\S+|" + re.escape(case_id), "…", reason)
        cases.setdefault(kind, []).append(case_id)
    most = sorted(cases.values(), key=len, reverse=True)[:_MOST_REASONS]
    return "; ".join(
        f"{ids[0]}: {problems[ids[0]]}" + (f" (as {len(ids) - 1} more)" if ids[1:] else "") for ids in most
    )


def _references(cfg: DictConfig, references: str, known: Collection[str]) -> dict[str, Path]:
    """Return each case that has a reference, with its file or the prepared set; `known` as in `find_label_files`."""
    if references != PREPARED:
        return find_label_files(Path(references), layout_of(cfg), known)
    store = open_store(cfg)
    return {c: Path(cfg.paths.prepared) for c in store.case_ids if store.record(c).has_labels}


def means_table(name: str, rows: DataFrame, averaged: Sequence[str], policy: str) -> Table:
    """Return the mean of every metric over the cases, by region, with the metrics' policy as a note."""
    from brats_ablate.tables.table import Number, Row, Table, Words, headers

    of_region = rows.pivot_table("value", "metric", "region", sort=False)
    means = of_region.assign(mean=of_region[list(averaged)].mean(axis=1))
    cells: list[Row] = [
        (Words(str(metric)), *(Number(value, _format_mean) for value in values))
        for metric, values in zip(means.index, means.to_numpy(float).tolist(), strict=True)
    ]
    return Table(name, f"{name}: means over cases", headers("metric", *means.columns), tuple(cells), (policy,))


def _format_mean(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
