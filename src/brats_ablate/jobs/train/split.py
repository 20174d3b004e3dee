"""Which cases a run trains and validates on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from brats_ablate.data.folds import fraction_of
from brats_ablate.errors import ConfigError, DataError

if TYPE_CHECKING:
    from brats_ablate.data.store import CaseStore


def split(cfg: DictConfig, store: CaseStore) -> tuple[list[str], list[str]]:
    """Return the training and validation cases of `cfg.fold`, as frozen with the prepared data.

    With `data.fraction` below 1, the training cases are those of so many of the fold's training patients, the same for
    every experiment, learning rate and seed, and drawn for each fold apart. Validation is on all cases regardless.

    Cases that were prepared without a segmentation, for prediction, belong to no fold.

    Raises:
        ConfigError: the prepared data has fewer folds.
        DataError: no case has a segmentation, all cases of the fold are invalid, or a case of a fold has no
            segmentation any more.
    """
    fold = int(cfg.fold)
    if fold >= len(store.folds):
        raise ConfigError(f"fold={fold} does not exist: {cfg.paths.prepared} is split into {len(store.folds)} folds")
    if not any(store.folds):
        raise DataError(
            f"no case of {cfg.paths.prepared} has a segmentation: nothing to train on; prepare labeled cases"
        )
    validation = list(store.folds[fold])
    if not validation:
        raise DataError(
            f"fold {fold} of {cfg.paths.prepared} has no valid case, so there is nothing to validate on; correct its "
            "cases (problems.csv) and prepare again, or train the other folds"
        )
    training = sorted(case_id for k, ids in enumerate(store.folds) if k != fold for case_id in ids)
    fraction = float(OmegaConf.select(cfg, "data.fraction", default=1))
    if fraction < 1:
        patient_of = {case_id: store.record(case_id).patient_id for case_id in training}
        training = fraction_of(training, patient_of.__getitem__, fraction, int(cfg.data.fold_seed), fold)
    for case_id in (*training, *validation):
        if not store.record(case_id).has_labels:
            raise DataError(
                f"case {case_id} had a segmentation when the folds were drawn, and has none now; restore it and "
                "prepare again, or draw new folds"
            )
    return training, validation
