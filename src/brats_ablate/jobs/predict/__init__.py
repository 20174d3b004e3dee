"""`job=predict`: checkpoints and cases to label files. Reads runs/ and prepared/ or raw files, writes predictions/.

Prepared cases are predicted out of fold, by the models that did not train on them; raw cases by the whole ensemble.
Each file is written atomically, in a thread while the networks compute the next case. Running the same command again
continues an interrupted call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from brats_ablate.config.check import resolve
from brats_ablate.config.trust import named_targets
from brats_ablate.errors import ConfigError, DataError
from brats_ablate.inference.ensemble import EnsembleMember, choose_members
from brats_ablate.inference.label_pipeline import LabelPipeline
from brats_ablate.inference.prediction_store import CasePrediction, PredictionFolder
from brats_ablate.jobs.build import build_scheme
from brats_ablate.jobs.predict.case_source import PREPARED, CaseSource, open_source, or_error
from brats_ablate.jobs.predict.labeling import check_folds_of_settings, configured_pipeline, tuned_pipeline
from brats_ablate.jobs.predict.network_inputs import inputs_of
from brats_ablate.jobs.predict.run_check import check_runs
from brats_ablate.runtime.ranks import rank, world_size

if TYPE_CHECKING:
    import numpy as np

    from brats_ablate.cases import CaseMetadata
    from brats_ablate.labels.scheme import LabelScheme

    Prediction = tuple[str, CasePrediction | DataError]
    """Case id; its prediction, or the error of an invalid case."""


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
    disagreement: bool,
    reuse: str | None,
    settings: str | None,
    shard: int,
    shards: int,
) -> None:
    """Predict every case of `source` that has no label file yet; conf/job/predict.yaml describes the keys.

    Raises:
        ConfigError: a key is invalid, or a run is missing.
        RunFailed: the output folder contains different predictions, or a checkpoint has a different configuration.
        DataError: cases are missing or invalid; all others are predicted first.
    """
    number, total = shard_of(shard, shards)
    if lr != "best" and not isinstance(lr, int | float):
        raise ConfigError(f"job.lr={lr} must be best, or a learning rate")
    if checkpoints < 1:
        raise ConfigError(f"job.checkpoints={checkpoints} must be at least 1")
    if probabilities and reuse is not None:
        raise ConfigError("job.probabilities=true would copy the probabilities of job.reuse; set only one of the two")
    if disagreement and reuse is not None:
        raise ConfigError(
            "job.disagreement=true needs the probabilities of each network, and job.reuse has only their mean; leave "
            "job.reuse out"
        )
    members = []
    if reuse is None:
        members = choose_members(Path(cfg.paths.runs), runs, lr=lr, seed=int(cfg.seed), checkpoints=checkpoints)
        check_runs(members, named_targets(resolve(cfg)))
    case_source = open_source(cfg, source, cases, inputs_of(members))
    pipeline = configured_pipeline(cfg) if settings is None else tuned_pipeline(cfg, Path(settings))
    if reuse is not None and getattr(pipeline.default.thresholds, "full_precision", False):
        raise ConfigError(
            f"inference.labels={type(pipeline.default.thresholds).__name__} needs probabilities in full precision, and "
            "those of job.reuse are float16; leave job.reuse out, or set inference/labels=half"
        )
    check_folds_of_settings(pipeline, case_source)
    folder = PredictionFolder(Path(cfg.paths.predictions) / output)
    case_ids = case_source.case_ids[number::total]

    def is_missing(case_id: str) -> bool:
        has_all = folder.label_file(case_id).exists()
        has_all &= not probabilities or folder.has_probabilities(case_id)
        has_all &= not disagreement or folder.disagreement_file(case_id).exists()
        return not has_all

    if reuse is None:
        from brats_ablate.jobs.predict.ensemble import EnsemblePredictor

        ensemble = EnsemblePredictor(cfg, members, case_source, disagreement=disagreement)
        manifest = {"probabilities": ensemble.provenance, "labels": pipeline.provenance}
        later = {"reading": dict(case_source.reading), "imported": _imported(members)}
        if case_source.fold_of and case_source.store is not None:
            later["folds"] = {"fingerprint": case_source.store.folds_fingerprint}
        else:  # nothing else keeps training cases out
            later["trained_on"] = {str(member): member.run.manifest().get("data_fingerprint") for member in members}
        folder.write_or_verify_manifest(manifest | {part: content for part, content in later.items() if content})
        for case_id in case_ids:
            folder.remove_outdated(case_id, case_source.files.get(case_id, ()))
        todo = [c for c in case_ids if is_missing(c)]
        print(f"{len(members)} checkpoints of folds {sorted({m.fold for m in members})}, {ensemble.precision.name}")
        results = ensemble.predictions(todo)
    else:
        saved = PredictionFolder(Path(cfg.paths.predictions) / reuse)
        if not saved.manifest():
            raise ConfigError(f"job.reuse={reuse}: job=predict did not write {saved.path}; give the name of an output")
        wanted, predicted = (
            p.get("data_fingerprint") for p in (case_source.provenance, saved.manifest()["probabilities"])
        )
        if source == PREPARED and wanted != predicted:
            raise ConfigError(
                f"job.reuse={reuse}: {saved.path} was not predicted from the data in {cfg.paths.prepared}; predict "
                "again, or set job.source to the folder that was predicted"
            )
        folder.write_or_verify_manifest(saved.manifest() | {"labels": pipeline.provenance})
        for case_id in case_ids:
            if (relabeled := saved.label_file(case_id)).exists():
                folder.remove_outdated(case_id, [relabeled])
        todo = [c for c in case_ids if is_missing(c)]
        results = ((c, or_error(lambda c: CasePrediction(*saved.read_probabilities(c)), c)) for c in todo)
    problems = dict(case_source.problems) if number == 0 else {}
    problems |= _write_all(results, len(todo), case_source, folder, pipeline, probabilities, build_scheme(cfg))
    done = len(todo) - sum(c in problems for c in todo)
    print(f"{done} cases predicted, {len(case_ids) - len(todo)} already existed, skipped: {folder.path}")
    if problems:
        details = "; ".join(f"{case}: {reason}" for case, reason in sorted(problems.items())[:3])
        raise DataError(f"{len(problems)} cases are not predicted ({details}); fix them and run the same command again")


def shard_of(shard: int, shards: int) -> tuple[int, int]:
    """Return number and count of this process's part: the shard, divided among the ranks of torchrun or SLURM.

    Raises:
        ConfigError: the shard does not exist, or the environment does not say which rank this is.
    """
    if shards < 1 or not 0 <= shard < shards:
        raise ConfigError(f"job.shard={shard} does not exist; choose 0 to {shards - 1} (job.shards={shards})")
    return shard * world_size() + rank(), shards * world_size()


def _imported(members: Sequence[EnsembleMember]) -> dict[str, str]:
    """Return the checksums of imported networks, whose folder can contain another one later, under the same name."""
    imported = [member for member in members if "imported" in member.run.manifest()]
    return {str(member): (member.run.identity() or {})["init.checksum"] for member in imported}


def _write_all(
    results: Iterable[Prediction],
    count: int,
    source: CaseSource,
    folder: PredictionFolder,
    pipeline: LabelPipeline,
    probabilities: bool,
    labels: LabelScheme,
) -> dict[str, str]:
    """Label and write each case in a thread, while this one predicts the next; return case id -> reason if invalid.

    At most two predictions are in memory: one is written, the next one made or waiting.
    """
    from brats_ablate.runtime.progress import ProgressBar
    from brats_ablate.runtime.workers import prefetch

    def write(prediction: Prediction) -> dict[str, str]:
        case_id, result = prediction
        if isinstance(result, DataError):
            return {case_id: str(result)}
        record = result.record
        if probabilities:
            folder.save_probabilities(record, result.probabilities)
        if result.disagreement is not None:
            write_map(folder.disagreement_file(case_id), result.disagreement, record)
        encoded = pipeline(result.probabilities, source.fold_of.get(case_id))
        write_case(folder.label_file(case_id), encoded, record, labels)
        return {}

    problems: dict[str, str] = {}
    with ProgressBar("predicting", count) as progress, closing(prefetch(write, results)) as written:
        for invalid in written:
            problems |= invalid
            progress.advance(f"{len(problems)} invalid" if problems else "")
    return problems


def write_case(file: Path, encoded: np.ndarray, record: CaseMetadata, labels: LabelScheme) -> None:
    """Write the (X, Y, Z) label map of the stored region as NIfTI, on the original grid, background elsewhere.

    The file has the position of the case's own files: affine, qform, codes and unit.
    """
    import numpy as np

    from brats_ablate.data.nifti import write_labels
    from brats_ablate.data.store import to_original_space

    values = labels.decode(to_original_space(record, encoded))
    write_labels(file, values, np.asarray(record.grid.affine), record.grid.position)


def write_map(file: Path, values: np.ndarray, record: CaseMetadata) -> None:
    """Write (X, Y, Z) float32 of the stored region as NIfTI, on the original grid as `write_case`, 0 elsewhere."""
    import numpy as np

    from brats_ablate.data.nifti import write_volume
    from brats_ablate.data.store import to_original_space

    original = to_original_space(record, values)
    write_volume(file, original, np.asarray(record.grid.affine), record.grid.position)
