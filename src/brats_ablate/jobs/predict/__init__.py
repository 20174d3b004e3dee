"""`job=predict`: checkpoints and cases to label files. Reads runs/ and prepared/ or raw files, writes predictions/.

On the prepared set each case is predicted only by the models that did not train on it; raw cases by the whole ensemble.
Case by case, each file whole or not at all: an interrupted call is continued by the same command.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from brats_ablate.errors import ConfigError, DataError
from brats_ablate.inference.prediction_store import PredictionFolder
from brats_ablate.jobs.predict.case_source import CaseSource, open_source
from brats_ablate.jobs.predict.labeling import LabelPipeline, configured_labelling, tuned_labelling
from brats_ablate.jobs.predict.members import choose_members

if TYPE_CHECKING:
    import numpy as np

    from brats_ablate.cases import CaseMetadata

    Found = tuple[str, tuple[np.ndarray, CaseMetadata] | DataError]


def run(
    cfg: DictConfig,
    *,
    output: str,
    source: str,
    runs: list[str],
    lr: float | str,
    checkpoints: int,
    cases: list[str] | None,
    probabilities: bool,
    reuse: str | None,
    settings: str | None,
    shard: int,
    shards: int,
) -> None:
    """Predict every case of `source` that has no label file yet; the keys are described in conf/job/predict.yaml.

    Raises:
        ConfigError: a key is impossible, or a run is missing.
        RunFailed: the output folder holds other predictions, or a checkpoint is of another configuration.
        DataError: cases are missing or unfit; all others are predicted by then.
    """
    number, total = shard_of(shard, shards)
    if lr != "best" and not isinstance(lr, int | float):
        raise ConfigError(f"job.lr={lr} must be best, or a learning rate")
    if checkpoints < 1:
        raise ConfigError(f"job.checkpoints={checkpoints} must be at least 1")
    if probabilities and reuse is not None:
        raise ConfigError("job.probabilities=true would copy what job.reuse has; leave one of them out")
    found = open_source(cfg, source, cases)
    labelling = configured_labelling(cfg) if settings is None else tuned_labelling(cfg, Path(settings))
    folder = PredictionFolder(Path(cfg.paths.predictions) / output)
    mine = found.case_ids[number::total]

    def is_missing(case_id: str) -> bool:
        return not folder.label_file(case_id).exists() or (probabilities and not folder.has_probabilities(case_id))

    if reuse is None:
        from brats_ablate.jobs.predict.ensemble import EnsemblePredictor

        members = choose_members(Path(cfg.paths.runs), runs, lr=lr, seed=int(cfg.seed), checkpoints=checkpoints)
        networks = EnsemblePredictor(cfg, members, found)
        folder.claim({"probabilities": networks.made_of, "labels": labelling.made_of})
        todo = [c for c in mine if is_missing(c)]
        print(f"{len(members)} checkpoints of folds {sorted({m.fold for m in members})}, {networks.precision.name}")
        results = networks.probabilities(todo)
    else:
        saved = PredictionFolder(Path(cfg.paths.predictions) / reuse)
        if not saved.manifest():
            raise ConfigError(f"job.reuse={reuse}: {saved.path} is not of job=predict; give the name of an output")
        folder.claim({"probabilities": saved.manifest()["probabilities"], "labels": labelling.made_of})
        todo = [c for c in mine if is_missing(c)]
        results = _saved(saved, todo)
    problems = dict(found.problems) if number == 0 else {}
    problems |= _write_all(results, len(todo), found, folder, labelling, probabilities, str(cfg.data.convention))
    done = len(todo) - sum(c in problems for c in todo)
    print(f"{done} cases predicted, {len(mine) - len(todo)} were there before: {folder.path}")
    if problems:
        shown = "; ".join(f"{case}: {reason}" for case, reason in sorted(problems.items())[:3])
        raise DataError(f"{len(problems)} cases are not predicted ({shown}); mend them and run the same command again")


def shard_of(shard: int, shards: int) -> tuple[int, int]:
    """This process's part: the shard, divided further among the ranks that torchrun or SLURM started.

    Raises:
        ConfigError: there is no such shard.
    """
    if shards < 1 or not 0 <= shard < shards:
        raise ConfigError(f"job.shard={shard} does not exist; choose 0 to {shards - 1} (job.shards={shards})")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    return shard * world + int(os.environ.get("RANK", "0")), shards * world


def _saved(folder: PredictionFolder, case_ids: Sequence[str]) -> Iterator[Found]:
    for case_id in case_ids:
        try:
            yield case_id, folder.read_probabilities(case_id)
        except DataError as error:
            yield case_id, error


def _write_all(
    results: Iterable[Found],
    count: int,
    source: CaseSource,
    folder: PredictionFolder,
    labelling: LabelPipeline,
    probabilities: bool,
    convention: str,
) -> dict[str, str]:
    """Label and write each case; returns the cases that have no probabilities, with the reason."""
    from brats_ablate.runtime.progress import ProgressBar

    problems = {}
    with ProgressBar("predicting", count) as progress:
        for case_id, found in results:
            if isinstance(found, DataError):
                problems[case_id] = str(found)
            else:
                values, record = found
                if probabilities:
                    folder.save_probabilities(record, values)
                depth = labelling(values, source.fold_of.get(case_id))
                write_case(folder.label_file(case_id), depth, record, convention)
            progress.advance(f"{len(problems)} unfit" if problems else "")
    return problems


def write_case(file: Path, depth: np.ndarray, record: CaseMetadata, convention: str) -> None:
    """Write (X, Y, Z) nesting depths of the stored region as NIfTI, on the case's own grid, in its label convention.

    Outside the stored region every voxel is background, whatever the thresholds.
    """
    import numpy as np

    from brats_ablate.data.nifti import write_labels
    from brats_ablate.data.store import to_original_space
    from brats_ablate.labels import decode_labels

    write_labels(file, decode_labels(to_original_space(record, depth), convention), np.asarray(record.grid.affine))
