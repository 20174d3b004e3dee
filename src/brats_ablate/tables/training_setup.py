"""How the runs of an experiment were trained, and a note for each difference between the runs of a table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

from brats_ablate.tables.scores import RunSummary
from brats_ablate.tables.table import fold_list, learning_rate


@dataclass(frozen=True)
class TrainingSetup:
    """How one run was trained; a field is None where it is not recorded."""

    epochs: int | None
    steps_per_epoch: int | None
    global_batch: int | None
    """Patches per step: the batch size times the processes of the run."""
    precision: str | None
    """As resolved on the device: fp32, tf32, bf16 or fp16."""
    validation: str | None
    """The epochs that can be the best one."""
    device: str | None


TITLES: Mapping[str, str] = MappingProxyType({f.name: f.name.replace("_", " ") for f in fields(TrainingSetup)})
"""Field -> its name in tables."""
_MUST_AGREE = ("epochs", "global_batch", "precision", "validation")
"""Steps per epoch also depend on the number of training cases, which differs by one between folds."""

_DRAWN_BY = ("data.n_folds", "data.fold_seed")
"""Keys of an identity that folds are drawn by."""


def setup_of(run: RunSummary) -> TrainingSetup:
    """Return the setup of one run; manifests of earlier versions lack some of it."""
    identity = run.manifest.get("identity") or {}
    batch, processes = identity.get("trainer.batch_size"), run.manifest.get("world_size")
    return TrainingSetup(
        epochs=identity.get("trainer.epochs"),
        steps_per_epoch=round(run.steps / run.recorded_epochs) if run.steps and run.recorded_epochs else None,
        global_batch=batch * processes if batch and processes else None,
        precision=run.manifest.get("precision"),
        validation=_validation(identity),
        device=run.manifest.get("hardware"),
    )


def _validation(identity: Mapping[str, Any]) -> str | None:
    every, final_every = identity.get("trainer.validate_every"), identity.get("validation.final_every")
    if final_every is not None:
        return f"{_every(final_every)} of the final tenth"
    return None if every is None else _every(every)


def _every(epochs: int) -> str:
    return "every epoch" if epochs == 1 else f"every {epochs} epochs"


def recorded_values(runs: Sequence[RunSummary], field: str) -> list[Any]:
    """Return the values of one field of the runs' setups, each once, sorted."""
    return sorted({value for run in runs if (value := getattr(setup_of(run), field)) is not None})


def setup_differences(columns: Sequence[tuple[str, Sequence[RunSummary]]]) -> Iterator[str]:
    """Yield a note for each of global batch, precision and epochs in which columns or the runs of a column differ.

    Args:
        columns: title and runs of each column of a table.
    """
    for field in _MUST_AGREE:
        values = [recorded_values(runs, field) for _, runs in columns]
        if len({value for of_column in values for value in of_column}) < 2:
            continue
        verb = "differ" if field == "epochs" else "differs"
        of_columns = [(title, runs, found) for (title, runs), found in zip(columns, values, strict=True) if found]
        shown = ", ".join(f"{title} {joined(found)}" for title, _, found in of_columns)
        yield f"! {TITLES[field].capitalize()} {verb}: {shown}; these runs were not trained alike."
        for title, runs, found in of_columns:
            if len(found) > 1:
                parts = (f"{value} in {_named(runs, field, value)}" for value in found)
                yield f"! {title}, {TITLES[field]}: {'; '.join(parts)}."


def joined(values: Sequence[object]) -> str:
    """Return several values of a column as text: 2 / 16."""
    return " / ".join(map(str, values))


def fold_differences(columns: Sequence[tuple[str, Sequence[RunSummary]]], folds: int) -> Iterator[str]:
    """Yield a note if the runs of a table held out different cases in one fold, and on runs beyond the `folds`.

    Args:
        columns: title and runs of each column of a table.
        folds: of the prepared data.
    """
    identities = [run.manifest.get("identity") or {} for _, runs in columns for run in runs]
    drawn_by = {tuple(each[key] for key in _DRAWN_BY) for each in identities if each.keys() >= set(_DRAWN_BY)}
    held_out: dict[int, set[str]] = defaultdict(set)
    for _, runs in columns:
        for run in runs:
            if (recorded := run.manifest.get("held_out")) is not None:
                held_out[run.coordinates.fold].add(recorded)
    if len(drawn_by) > 1 or any(len(several) > 1 for several in held_out.values()):
        shown = "; ".join(f"data.n_folds={n} data.fold_seed={seed}" for n, seed in sorted(drawn_by, key=str))
        how = f" ({shown})" if len(drawn_by) > 1 else ""
        yield (
            f"! The runs were trained with different folds{how}: scores of one fold are of different cases, so columns "
            "are not comparable."
        )
    for title, runs in columns:
        if beyond := sorted({run.coordinates.fold for run in runs if run.coordinates.fold >= folds}):
            yield f"! {title}, {fold_list(beyond)}: left out, as data.n_folds={folds}."


def _named(runs: Sequence[RunSummary], field: str, value: object) -> str:
    """Name the runs of a column that have `value`: by fold if no fold has two runs."""
    chosen = [run.coordinates for run in runs if getattr(setup_of(run), field) == value]
    if len({run.coordinates.fold for run in runs}) == len(runs):
        return fold_list([c.fold for c in chosen])
    return ", ".join(f"fold {c.fold} (lr {learning_rate(c.lr)}, seed {c.seed})" for c in chosen)
