"""`job=prepare`: preprocess raw NIfTI files into the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from brats_ablate.config.command import experiment_option, options_of_training, shell_command
from brats_ablate.config.data_options import known_layouts, known_schemes
from brats_ablate.errors import ConfigError, DataError
from brats_ablate.jobs.build import build_scheme, layout_of
from brats_ablate.launch.devices import visible_devices


def run(cfg: DictConfig, workers: int | None, require_segmentation: bool, trust_convention: bool) -> None:
    """Preprocess the data set of `cfg.data` into `cfg.paths.prepared`; a phantom data set is written first.

    Raises:
        ConfigError: no raw folder is given.
        DataError: cases are invalid (all others are prepared first), or nothing can be prepared.
    """
    data = cfg.data
    if data.raw is None and data.list is None:
        raise ConfigError(
            "data.raw is not set; give the folder of the unpacked data set: data.raw=/path/to/it, or a list: data.list"
        )
    if data.phantom is not None:
        from hydra.utils import instantiate

        instantiate(data.phantom, _convert_="all").write(Path(data.raw), layout_of(cfg), build_scheme(cfg))

    from brats_ablate.data.folds import fold_of_case
    from brats_ablate.data.preprocess import PROBLEMS, PreprocessingSummary, hint_of, preprocess_dataset

    prepared = Path(cfg.paths.prepared)
    settings: dict[str, Any] = {key: data[key] for key in ("name", "n_folds", "fold_seed")}
    settings |= {
        "layout": layout_of(cfg),
        "known_layouts": known_layouts(),
        "labels": build_scheme(cfg),
        "known": known_schemes(),
    }
    settings |= {key: data[key] for key in ("background", "trust_affine_of", "spacing", "patient")}
    settings |= {"listed": None if data.list is None else Path(data.list)}
    settings |= {"require_segmentation": require_segmentation, "trust_convention": trust_convention}
    summary: PreprocessingSummary = preprocess_dataset(Path(data.raw or "."), prepared, workers=workers, **settings)
    unchanged = summary.cases - summary.written
    print(
        f"{summary.cases} cases in {prepared} ({summary.mebibytes:.1f} MiB): {summary.written} prepared in "
        f"{summary.seconds:.1f} s, {unchanged} already up to date, skipped; fingerprint {summary.fingerprint[:12]}"
    )
    for line in summary.about:
        print(line)
    if summary.problems:
        from rich.console import Console
        from rich.table import Table

        table = Table(title="Invalid cases")
        for column in ("case", "reason"):
            table.add_column(column, overflow="fold")
        for case_id, reason in sorted(dict(summary.problems).items()):
            table.add_row(case_id, reason)
        Console().print(table)
        raise DataError(
            f"{len(summary.problems)} of {summary.cases + len(summary.problems)} cases are invalid, for the reasons "
            f"in {prepared / PROBLEMS}{hint_of(summary.fitting)}; fix them and run the same command again"
        )
    if fold_of_case(prepared):
        print(f"next: {next_command(cfg)}")
    else:
        print("no case has a segmentation to train on; predict them by job.runs=[<folders of runs on other data>]")


def next_command(cfg: DictConfig) -> str:
    """Return the command that trains the baseline on the prepared data: at a size that suits data and machine."""
    options = options_of_training(cfg)
    if not any(option.startswith("trainer=") for option in options):
        if cfg.data.phantom is not None:
            options.append("trainer=demo")
        elif not visible_devices():
            options.append("trainer=cpu")
    folds = ",".join(str(fold) for fold in range(cfg.data.n_folds))
    return shell_command(experiment_option() or "+experiment=baseline", *options, f"fold={folds}", "-m")
