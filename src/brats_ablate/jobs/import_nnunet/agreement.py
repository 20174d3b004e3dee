"""Compare an imported network with nnU-Net's own prediction of a case that it held out.

A trainer of one's own can change what a network computes without a trace in plans or weights. This finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf, open_dict

from brats_ablate.data import nifti
from brats_ablate.data.case_reader import PreparedCase
from brats_ablate.data.store import CaseStore, to_original_space
from brats_ablate.data.validation import encoded_labels
from brats_ablate.errors import ConfigError
from brats_ablate.inference.ensemble import EnsembleMember
from brats_ablate.jobs import build
from brats_ablate.jobs.predict.case_source import CaseSource
from brats_ablate.jobs.predict.labeling import configured_pipeline
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.runs.directory import RunDirectory

_LEAST = 0.99
"""Of the voxels that either labels; float16 on a GPU and float32 differ in a few of a thousand."""


def require_agreement(cfg: DictConfig, run: RunDirectory, files: Mapping[str, Path], labels: LabelScheme) -> str:
    """Predict one of the held-out cases and compare the labels; return a sentence.

    Args:
        cfg: the composed configuration.
        run: the imported network.
        files: case id -> nnU-Net's label file, of the cases that the network did not train on.
        labels: of the values in these files.

    Raises:
        ConfigError: less than 99 % of the labeled voxels are equal.
        DataError: the case is one that nnU-Net would change before it predicts it.
    """
    if not (Path(cfg.paths.prepared) / "cohort.json").exists():
        return "not compared with nnU-Net's predictions, as the data are not prepared"
    store = build.open_store(cfg)
    for case_id in sorted(files.keys() & set(store.case_ids)):
        values, _ = nifti.read_volume(files[case_id])
        theirs = encoded_labels(files[case_id], values, labels)
        if not theirs.any():
            continue
        ours = _predicted(cfg, run, store, case_id)
        either = (ours > 0) | (theirs > 0)
        share = float((ours == theirs)[either].mean())
        if share < _LEAST:
            raise ConfigError(
                f"{100 * share:.1f} % of the labeled voxels of {case_id} are equal to those in {files[case_id]}, so "
                "nnU-Net computed something that is not reproduced here, and the networks are not imported; set "
                "job.networks=false to import the column alone, or job.check=false to import them unchecked"
            )
        equal = 100 * float((ours == theirs).mean())
        return f"{equal:.3f} % of the voxels of {case_id} are equal to those that nnU-Net predicted"
    return "not compared with nnU-Net's predictions, as no prepared case with labels is among those it held out"


def _predicted(cfg: DictConfig, run: RunDirectory, store: CaseStore, case_id: str) -> np.ndarray:
    """Return the label map (X, Y, Z) of a prepared case on its own grid, by the settings of the run."""
    from brats_ablate.jobs.predict.ensemble import EnsemblePredictor

    own = OmegaConf.create(run.config())
    with open_dict(cfg):
        merged = cfg.copy()
        merged.inference, merged.postprocess = own.inference, own.postprocess
        merged.trainer.precision = own.trainer.precision
    source = CaseSource([], lambda case_id: case, {}, {}, {})
    record = store.record(case_id)
    case = PreparedCase(record, store.read_images(case_id), None, store.modalities)
    ensemble = EnsemblePredictor(merged, [EnsembleMember(run, run.best_checkpoints()[0])], source)
    encoded = configured_pipeline(merged)(ensemble.predict(case).probabilities, None)
    return to_original_space(record, encoded)
