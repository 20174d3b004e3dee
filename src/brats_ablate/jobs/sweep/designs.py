"""`job=plan job.compare=true`: what other designs of a study would cost, and what they would detect."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from brats_ablate.config.locations import option_files, read_option
from brats_ablate.errors import ConfigError
from brats_ablate.jobs.build import instantiate
from brats_ablate.jobs.prepared_data import folds_and_patients
from brats_ablate.jobs.sweep.dry_run import Measurement
from brats_ablate.jobs.sweep.time_left import SCHEDULE
from brats_ablate.jobs.tables import results_of, table_specs
from brats_ablate.runtime.text import first_line
from brats_ablate.tables.build import TableResult
from brats_ablate.tables.designs import INTERIM, EpochSeconds, VarianceParts, designs_table
from brats_ablate.training.validation_schedule import ValidationSchedule

_BRATS_2021 = 1251


def run(
    cfg: DictConfig,
    sweep: Sequence[DictConfig],
    *,
    detect: float | None,
    tables: list[str] | None,
    measure: Callable[[DictConfig], Measurement] | None,
) -> None:
    """Print the table of designs for the experiments of `sweep` if it has several, else for those of the tables.

    Variances and times are those of the study's finished runs. Without any, variances are assumed and times measured
    by a dry run of `cfg` on this machine; None for `measure` leaves them out.

    Raises:
        ConfigError: a table does not exist, or there is only one experiment.
        RunFailed: the dry run failed.
    """
    results = results_of(cfg, table_specs(cfg, tables), rope=detect or 0.001)
    names = list(dict.fromkeys(str(each.name) for each in sweep))
    columns = len(names)
    if len(names) < 2:
        trained = [[c.column.experiment for c in r.columns if c.column.experiment] for r in results]
        names, columns = sorted({name for of_table in trained for name in of_table}), max(map(len, trained), default=0)
    if columns < 2:
        raise ConfigError(
            "job.compare=true needs two experiments to compare; sweep several (+experiment=baseline,ds -m), or name a "
            "table of trained columns in job.tables"
        )
    folds = int(cfg.data.n_folds)
    parts, of_variance = _variance(cfg, results, names, folds)
    seconds, of_time = _seconds(results, names, measure, cfg)
    epochs = int(cfg.trainer.epochs)
    table = designs_table(
        parts,
        seconds,
        columns=columns,
        experiments=len(names),
        folds=sorted({(folds + 1) // 2, folds} - {1}),
        epochs=epochs,
        validations={name: schedule.count(epochs) for name, schedule in schedules(cfg).items()},
        detect=detect,
        notes=(of_variance, *of_time),
    )
    from rich.console import Console

    from brats_ablate.tables import terminal

    terminal.show([table], Console())


def schedules(cfg: DictConfig) -> dict[str, ValidationSchedule]:
    """Return every option of the group `validation`, and the configuration's own if it is none of them.

    Raises:
        ConfigError: an option is no schedule; names its file.
    """
    known = {name: _schedule(cfg, file, name) for name, file in option_files("validation").items()}
    own = instantiate(cfg.validation)
    return known if own in known.values() else known | {"this command's": own}


def _schedule(cfg: DictConfig, file: Path, name: str) -> ValidationSchedule:
    """Return what the option `name` would make of the configuration."""
    other = copy.deepcopy(cfg)
    OmegaConf.update(other, "validation", read_option("validation", name), merge=False, force_add=True)
    try:
        schedule = instantiate(other.validation) if "_target_" in other.validation else None
    except (ConfigError, HydraException, OmegaConfBaseException, TypeError) as error:
        raise ConfigError(f"{file}: {first_line(error)}; correct it") from error
    if not isinstance(schedule, ValidationSchedule):
        raise ConfigError(f"{file} is no schedule; begin it with _target_: {SCHEDULE}")
    return schedule


def _variance(
    cfg: DictConfig, results: Sequence[TableResult], names: Sequence[str], folds: int
) -> tuple[VarianceParts, str]:
    """Return the variance parts, and where they come from."""
    comparisons = {
        (r.columns[c.column].column.experiment, r.columns[c.baseline].column.experiment): c
        for r in results
        for c in r.comparisons
        if {r.columns[c.column].column.experiment, r.columns[c.baseline].column.experiment} <= set(names)
    }
    own = VarianceParts.of_study(comparisons.values())
    if own is not None:
        return own, "Variances: of this study's runs."
    fold_of_case, patient_of = folds_and_patients(cfg)
    patients = len({patient_of(case) for case in fold_of_case}) or _BRATS_2021
    return (
        VarianceParts.assumed(patients / folds),
        f"Variances: assumed, of simulated BraTS tables of {patients} patients (docs/cost.md); two runs per fold of "
        "two columns give the study's own.",
    )


def _seconds(
    results: Sequence[TableResult],
    names: Sequence[str],
    measure: Callable[[DictConfig], Measurement] | None,
    cfg: DictConfig,
) -> tuple[EpochSeconds | None, tuple[str, ...]]:
    """Return the times of an epoch, and where they come from."""
    columns = {c.column.experiment: c for r in results for c in r.columns if c.column.experiment in names}
    own = EpochSeconds.of_study(run for c in columns.values() for run in c.scores.runs)
    if own is not None:
        return own, ("Times: of this study's finished runs, mean over experiments.",)
    if measure is None:
        return None, ()
    m = measure(cfg)
    final, interim = (m["validation_cases"] * m[key] for key in ("case_s", "interim_case_s"))
    unit = "CPU-hours" if m["device"] == "cpu" else "GPU-hours"
    return (
        EpochSeconds(unit, m["steps_per_epoch"] * m["step_s"], interim or INTERIM * final, final),
        (f"Times: a dry run of {cfg.name} on this machine ({m['device']}).",),
    )
