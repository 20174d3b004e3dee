"""Builds everything that a training run is made of, and puts on record what it is: configuration and manifest."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

import torch
from omegaconf import DictConfig, OmegaConf

from brats_ablate.data.loader import PatchLoader
from brats_ablate.errors import ConfigError, DataError, RunFailed
from brats_ablate.jobs import build
from brats_ablate.jobs.sweep.data_check import data_changed_message
from brats_ablate.jobs.train.validation_image import ValidationImageLogger
from brats_ablate.metrics.dice import dice_per_region
from brats_ablate.models.base import to_device
from brats_ablate.runs.directory import RunDirectory
from brats_ablate.runs.identity import config_hash, identity
from brats_ablate.runs.provenance import code_version
from brats_ablate.runtime.files import atomic_write
from brats_ablate.runtime.memory import disable_malloc_trim
from brats_ablate.tracking.base import NullTracker, RunInfo
from brats_ablate.training.precision import Precision
from brats_ablate.training.progress import NullProgress, Progress, make_progress
from brats_ablate.training.trainer import Parts, Tracker, Trainer
from brats_ablate.training.validation import Validation
from brats_ablate.transforms.normalize import to_batch

if TYPE_CHECKING:
    from torch import Tensor

    from brats_ablate.data.store import CaseStore
    from brats_ablate.models.base import SegmentationModel
    from brats_ablate.training.distributed import DistributedContext

_PACKAGES = ("torch", "monai", "numpy", "scipy", "nibabel", "hydra-core", "omegaconf")


@contextmanager
def build_trainer(
    cfg: DictConfig, directory: RunDirectory, device: torch.device, ranks: DistributedContext
) -> Iterator[Trainer]:
    """A trainer ready to fit; its tracker is finished when the block ends, however it ends."""
    settings = build.instantiate(cfg.trainer)
    precision = Precision.resolve(settings.precision, device)
    store = build.open_store(cfg)
    training, validation = split(cfg, store)
    model = build.build_model(cfg)
    precision.guard(model)
    to_device(model, device)
    if ranks.is_main_process:
        _put_on_record(cfg, directory, store, model, precision, ranks)
    ranks.barrier()

    kept = settings.keep_freed_memory and disable_malloc_trim()
    label = str(directory.coordinates)
    if ranks.is_main_process:
        print(
            f"{label}: {len(training)} training and {len(validation)} validation cases, {precision.name} on {device}, "
            f"{ranks.world_size} process(es), freed memory {'kept' if kept else 'returned'}",
            flush=True,
        )

    def progress(first_step: int, total_steps: int) -> Progress:
        return (
            make_progress(settings.progress, label, first_step, total_steps)
            if ranks.is_main_process
            else NullProgress()
        )

    facts = _facts(cfg, directory)
    tracker = build.instantiate(cfg.tracker, run=facts) if ranks.is_main_process else NullTracker(facts)
    for row in directory.metrics():
        tracker.log(row)  # a killed process can lose what its tracker had not written: a resumed run tells it again
    try:
        yield Trainer(
            parts=_parts(cfg, store, training, validation, model, precision, ranks, tracker),
            settings=settings,
            lr=float(cfg.lr),
            seed=int(cfg.seed),
            precision=precision,
            run=directory,
            ranks=ranks,
            tracker=tracker,
            progress=progress,
            identity=identity(cfg),
        )
    finally:
        tracker.finish()


def split(cfg: DictConfig, store: CaseStore) -> tuple[list[str], list[str]]:
    """Training and validation cases of `cfg.fold`, as frozen beside the prepared data.

    Raises:
        ConfigError: the prepared data has fewer folds.
        DataError: a case has no segmentation, so that nothing can be learned from it.
    """
    fold = int(cfg.fold)
    if fold >= len(store.folds):
        raise ConfigError(f"fold={fold} does not exist: {cfg.paths.prepared} is split into {len(store.folds)} folds")
    validation = list(store.folds[fold])
    training = sorted(set(store.case_ids) - set(validation))
    for case_id in (*training, *validation):
        if not store.record(case_id).has_labels:
            raise DataError(
                f"case {case_id} has no segmentation; take it out of the raw folder to train, and prepare again"
            )
    return training, validation


def build_validation(
    cfg: DictConfig,
    store: CaseStore,
    case_ids: list[str],
    model: SegmentationModel,
    precision: Precision,
    tracker: Tracker,
) -> Validation:
    """Validation of `case_ids` on whole volumes by the window of `cfg.inference`, without test-time augmentation.

    `tracker` is offered a picture of the first case, which the first rank validates.
    """
    from brats_ablate.labels import to_regions

    window = build.build_window(cfg, model)
    network = build.probabilities_network(model, precision)
    volume_of = build.volume_loader(cfg, store, precision.device)

    def load(case_id: str) -> tuple[Tensor, Tensor]:
        volume, _ = volume_of(case_id)
        labels = torch.from_numpy(store.read_labels(case_id)).to(precision.device)
        return volume, to_regions(labels[None])[0]

    watch = ValidationImageLogger(store, case_ids[0], tracker)
    return Validation(case_ids, load, lambda volume: window(network, volume), dice_per_region, watch)


def _parts(
    cfg: DictConfig,
    store: CaseStore,
    training: list[str],
    validation: list[str],
    model: SegmentationModel,
    precision: Precision,
    ranks: DistributedContext,
    tracker: Tracker,
) -> Parts:
    settings = build.instantiate(cfg.trainer)
    inputs, augment = build.instantiate(cfg.inputs), build.instantiate(cfg.augment)
    network = ranks.wrap(model, precision.device)
    return Parts(
        model=model,
        network=torch.compile(network) if settings.compile else network,
        to_batch=lambda patches: to_batch(augment.on_patches(patches), inputs, precision.device),
        augment=augment,
        assemble=inputs.assemble,
        objective=build.build_loss(cfg),
        optimizer=build.instantiate(cfg.optimizer, parameters=model.parameters(), lr=float(cfg.lr)),
        schedule=build.instantiate(cfg.schedule),
        loader=PatchLoader(
            store,
            training,
            build.instantiate(cfg.patches),
            seed=int(cfg.seed),
            batch_size=settings.batch_size,
            crops_per_case=settings.crops_per_case,
            rank=ranks.rank,
            world_size=ranks.world_size,
            threads=settings.loader_threads,
        ),
        validation=build_validation(cfg, store, validation, model, precision, tracker),
    )


def _facts(cfg: DictConfig, directory: RunDirectory) -> RunInfo:
    resolved = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(resolved, dict)
    about, where = resolved["about"], directory.coordinates
    tags = (where.name, f"fold {where.fold}", resolved["data"]["name"], about["baseline"] and f"vs {about['baseline']}")
    coordinates = {"experiment": where.name, "fold": where.fold, "lr": where.lr, "seed": where.seed}
    return RunInfo(
        name=f"{where.name} f{where.fold} lr{where.lr:g} s{where.seed}",
        group=where.name,
        job="train",
        folder=directory.path,
        config={str(k): v for k, v in resolved.items()} | coordinates,
        tags=tuple(str(tag) for tag in tags if tag),
        question=about["question"],
    )


def _put_on_record(
    cfg: DictConfig,
    directory: RunDirectory,
    store: CaseStore,
    model: torch.nn.Module,
    precision: Precision,
    ranks: DistributedContext,
) -> None:
    """Write configuration and manifest; on a resume, refuse data that changed since the run began."""
    recorded = directory.manifest().get("data_fingerprint")
    if recorded is not None and recorded != store.fingerprint:
        raise RunFailed(data_changed_message(directory.path, str(cfg.paths.prepared), recorded, store.fingerprint))
    processes = directory.manifest().get("world_size", ranks.world_size)
    if directory.last_checkpoint.exists() and processes != ranks.world_size:
        raise RunFailed(
            f"{directory.path} was begun by {processes} processes and would be another run with {ranks.world_size}; "
            f"continue it with {processes}, or delete that directory"
        )
    with atomic_write(directory.path / "config.yaml") as temporary:
        temporary.write_text(OmegaConf.to_yaml(cfg, resolve=True), encoding="utf-8")
    where = directory.coordinates
    flat = identity(cfg)
    directory.write_manifest(
        {
            "experiment": where.name,
            "fold": where.fold,
            "lr": where.lr,
            "seed": where.seed,
            "baseline": cfg.about.baseline,
            "identity": flat,
            "config_hash": config_hash(flat),
            "data_fingerprint": store.fingerprint,
            "code_version": code_version(),
            "packages": {name: version(name) for name in _PACKAGES},
            "hardware": _hardware(precision.device),
            "precision": precision.name,
            "world_size": ranks.world_size,
            "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
            "gflops": directory.manifest().get("gflops") or _gflops(cfg),
        }
    )


def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def _gflops(cfg: DictConfig) -> float | None:
    """Forward of one training patch, in 10⁹ operations; None for a network that reads numbers off its activations."""
    from brats_ablate.model_summary.counts import count

    shape = (1, build.instantiate(cfg.inputs).channels, *cfg.patches.shape)
    try:
        return count(lambda: build.build_model(cfg), shape).forward_flop / 1e9
    except RuntimeError:  # the meta device has no numbers to read
        return None
