"""The prepared data decide: labels, channels, spacing and folds of a job are those that `job=prepare` recorded.

Without this, a job that is started without the options of `job=prepare` would use the defaults: five folds of data that
were split into two, or the labels of another challenge.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from brats_ablate.errors import ConfigError, DataError, UserError
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.runtime.files import read_json, readable
from brats_ablate.runtime.output import print_message

_PREPARE = "brats_ablate.jobs.prepare.run"


def use_prepared_data(cfg: DictConfig, overrides: Iterable[str]) -> None:
    """Set labels, channels, spacing and folds in `cfg` to those of the prepared data, if there are any.

    Args:
        cfg: a composed configuration; changed in place. That of `job=prepare` is left as it is.
        overrides: the command line's, which are refused where they contradict the data.

    Raises:
        ConfigError: an override contradicts the prepared data.
    """
    prepared = _path(cfg)
    if prepared is None or cfg.job.get("_target_") == _PREPARE:
        return
    try:
        head = json.loads((prepared / "cohort.json").read_bytes())
        frozen = json.loads((prepared / "folds.json").read_bytes())
        scheme = LabelScheme.recorded(head)
    except (OSError, ValueError, KeyError, TypeError):
        return  # not prepared, or damaged: opening it says which
    keys = [override.lstrip("+~").partition("=")[0] for override in overrides]
    with open_dict(cfg):
        if _key(cfg) != scheme.key:
            if any(key == "labels" or key.startswith("labels.") for key in keys):
                raise ConfigError(
                    f"{prepared} was prepared with labels={scheme.name} {_shown(scheme)}, unlike the labels of this "
                    "command; leave them out, or prepare the data again under another data.name"
                )
            cfg.labels = {"_target_": "brats_ablate.labels.scheme.LabelScheme", **scheme.to_dict()}
        modalities = OmegaConf.select(cfg, "data.layout.modalities")
        if modalities is not None and list(modalities) != list(head["modalities"]):
            cfg.data.layout.modalities = {name: modalities.get(name, [name]) for name in head["modalities"]}
        folds = (("n_folds", frozen["n_folds"]), ("fold_seed", frozen["seed"]))
        for key, recorded in (*folds, ("spacing", head.get("spacing"))):
            if cfg.data[key] == recorded:
                continue
            if f"data.{key}" in keys:
                raise ConfigError(
                    f"data.{key}={cfg.data[key]}, but {prepared} was prepared with {recorded}; leave it out, or "
                    "prepare the data again under another data.name"
                )
            cfg.data[key] = recorded


def folds_and_patients(cfg: DictConfig) -> tuple[dict[str, int], Callable[[str], str]]:
    """Return the fold of each prepared case, {} where nothing is prepared, and a function case id -> patient.

    For jobs that show results. Patients are those of the prepared data, else what `data.patient` or the layout finds in
    the id. Damaged data do not keep the results from being shown: one warning names the file.
    """
    from brats_ablate.data.folds import patient_finder
    from brats_ablate.jobs.build import layout_of

    folds, patients = _recorded(Path(cfg.paths.prepared))
    return folds, patient_finder(patients, cfg.data.get("patient") or layout_of(cfg).patient)


def _recorded(prepared: Path) -> tuple[dict[str, int], dict[str, str]]:
    from brats_ablate.data.folds import PREPARE, fold_of_case, patient_of_case

    files = [prepared / name for name in ("cohort.json", "folds.json", "records.jsonl")]
    if not any(file.exists() for file in files):
        return {}, {}
    try:
        head = read_json(files[0])
        if missing := [file for file in files if not file.exists()]:
            raise DataError(f"{missing[0]} does not exist; restore it, or {PREPARE} again")
        with readable(files[0], PREPARE):
            LabelScheme.recorded(head)
        return fold_of_case(prepared), patient_of_case(prepared)
    except UserError as error:
        print_message(
            f"{error}; until then, labels and folds are those of this command, and patients those that data.patient "
            "finds"
        )
        return {}, {}


def _path(cfg: DictConfig) -> Path | None:
    try:
        return Path(str(cfg.paths.prepared))
    except Exception:  # OmegaConf raises many types for a value that is missing, which `check` reports
        return None


def _key(cfg: DictConfig) -> Any:
    plain: Any = OmegaConf.to_container(cfg.labels, resolve=True)
    try:
        return LabelScheme.of_run({"labels": plain}).key
    except (TypeError, ValueError):
        return None


def _shown(scheme: LabelScheme) -> str:
    return ", ".join(f"{tissue} {values[0]}" for tissue, values in zip(scheme.tissues, scheme.file_values, strict=True))
