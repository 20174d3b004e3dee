"""Builds a trainer from a configuration, and writes the run's configuration and manifest."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

import torch
from omegaconf import DictConfig, OmegaConf

from brats_ablate.config.check import resolve
from brats_ablate.config.command import chosen, in_sweep
from brats_ablate.data.loader import PatchLoader
from brats_ablate.errors import RunFailed
from brats_ablate.inference.sliding_window import SlidingWindow
from brats_ablate.inference.whole_volume import WholeVolume
from brats_ablate.jobs import build
from brats_ablate.jobs.build_inference import average_of, build_predictor, build_window, volume_loader
from brats_ablate.jobs.sweep.data_check import data_changed
from brats_ablate.jobs.train.announcement import announcement
from brats_ablate.jobs.train.initialize import initialize
from brats_ablate.jobs.train.split import split
from brats_ablate.jobs.train.validation_image import ValidationImageLogger
from brats_ablate.launch.sweep import SweepRun, check_same_configuration, overfits_one_batch
from brats_ablate.metrics.dice import dice_per_region
from brats_ablate.runs.conflict import experiment_lock
from brats_ablate.runs.directory import RunDirectory
from brats_ablate.runs.identity import config_hash, identity
from brats_ablate.runs.provenance import code_version, of_all_starts
from brats_ablate.runtime.files import write_text
from brats_ablate.runtime.memory import disable_malloc_trim, reset_peak_memory, to_device
from brats_ablate.runtime.output import print_line
from brats_ablate.tracking.base import NullTracker, RunInfo, Tracker
from brats_ablate.tracking.guarded import GuardedTracker
from brats_ablate.training.one_batch import RepeatedBatch, validation_on
from brats_ablate.training.precision import Precision
from brats_ablate.training.profiling import ProfiledProgress
from brats_ablate.training.progress import SMALLER, EstimatedProgress, GuardedProgress, make_progress
from brats_ablate.training.trainer import Loader, Trainer
from brats_ablate.training.validation import Validation
from brats_ablate.transforms.pipeline import BatchPipeline

if TYPE_CHECKING:
    from torch import Tensor

    from brats_ablate.data.store import CaseStore
    from brats_ablate.losses.total_loss import TotalLoss
    from brats_ablate.models.base import SegmentationModel, SegmentationOutput
    from brats_ablate.training.distributed import DistributedContext
    from brats_ablate.training.settings import TrainerSettings

_PACKAGES = ("torch", "monai", "numpy", "scipy", "nibabel", "hydra-core", "omegaconf")


@contextmanager
def build_trainer(
    cfg: DictConfig, directory: RunDirectory, device: torch.device, ranks: DistributedContext
) -> Iterator[Trainer]:
    """Build a trainer that is ready to fit; its tracker is finished when the block ends, also by an exception."""
    reset_peak_memory(device)
    settings: TrainerSettings = build.instantiate(cfg.trainer)
    assert ranks.world_size == settings.ranks, f"{ranks.world_size} processes under the identity of {settings.ranks}"
    precision = Precision.resolve(settings.precision, device)
    precision.allow_tf32()
    store = build.open_training_store(cfg)
    training, validation = split(cfg, store)
    model = build.build_model(cfg)
    initialize(cfg, directory, model, is_main_process=ranks.is_main_process)
    precision.force_fp32_on_flat_inputs(model)
    build.execute_on(model, device)
    wrapped = ranks.wrap(model, device)
    network: Callable[[Tensor], SegmentationOutput] = wrapped
    compiled = settings.compiles_on(device.type)
    if compiled:
        from brats_ablate.models.compilation import CompiledNetwork

        torch.compiler.reset()  # earlier runs of this process fill Dynamo's caches, whose size is limited
        network = CompiledNetwork(wrapped)
    # Before the record: what rejects its arguments leaves none, which would refuse the corrected command.
    loss, optimizer = build.build_loss(cfg), build.build_optimizer(cfg, model)
    patches, augment, inputs = map(build.instantiate, (cfg.patches, cfg.augment, cfg.inputs))
    schedule, validation_schedule = map(build.instantiate, (cfg.schedule, cfg.validation))
    build_window(cfg, model)
    if ranks.is_main_process:
        write_manifest(cfg, directory, store, model, precision, ranks, training_cases=len(training))
    ranks.barrier()

    if settings.keep_freed_memory:
        disable_malloc_trim()
    info = run_info(cfg, directory)
    start = partial(build.instantiate, cfg.tracker, run=info)
    tracker = GuardedTracker(start, info) if ranks.is_main_process else NullTracker(info)
    crops = {"batch_size": settings.batch_size, "crops_per_case": settings.crops_per_case}
    division = {"rank": ranks.rank, "world_size": ranks.world_size, "threads": settings.loader_threads}
    shape = (settings.batch_size, build.input_channels(cfg), *cfg.patches.shape)
    try:
        ranks.settle(model, partial(_backward_of_empty_patches, network, loss, precision, shape))
        loader: Loader = PatchLoader(store, training, patches, seed=int(cfg.seed), **crops, **division)
        pipeline = BatchPipeline(augment, inputs, device)
        on_cases = build_validation(cfg, store, validation, model, precision, tracker, compiled=compiled)
        if settings.repeat_first_batch:
            loader = RepeatedBatch.first_of(loader)
            on_cases = validation_on(loader.batch, on_cases, pipeline)
        if ranks.is_main_process:
            cases = len(training), len(validation)
            steps = loader.steps_per_epoch
            print_line(announcement(cfg, directory, precision, ranks, cases=cases, steps_per_epoch=steps))
        interim = in_one_pass(on_cases, cfg, model, precision)
        progress = make_progress(settings.progress if ranks.is_main_process else "none", str(directory.coordinates))
        if device.type == "cpu" and ranks.is_main_process and settings.progress != "none":
            progress = EstimatedProgress(progress, SMALLER if chosen("trainer") == "paper" else "")
        progress = GuardedProgress(progress)
        if settings.profile and ranks.is_main_process:
            progress = ProfiledProgress(progress, directory.path / "profile", device)
        yield Trainer(
            model=model,
            network=network,
            pipeline=pipeline,
            loss=loss,
            optimizer=optimizer,
            schedule=schedule,
            loader=loader,
            validation=on_cases,
            interim_validation=interim,
            validation_schedule=validation_schedule,
            settings=settings,
            lr=float(cfg.lr),
            seed=int(cfg.seed),
            precision=precision,
            run=directory,
            ranks=ranks,
            tracker=tracker,
            progress=progress,
            identity=identity(resolve(cfg)),
        )
    finally:
        tracker.finish()


def _backward_of_empty_patches(
    network: Callable[[Tensor], SegmentationOutput], loss: TotalLoss, precision: Precision, shape: tuple[int, ...]
) -> None:
    """Compute the gradients of images of `shape`, (B, C, X, Y, Z), that are 0."""
    images = torch.zeros(shape, device=precision.device).contiguous(memory_format=torch.channels_last_3d)
    labels = torch.zeros((shape[0], *shape[2:]), dtype=torch.uint8, device=precision.device)
    with precision.autocast():
        total, _ = loss(network(images), labels, images)
    total.backward()


def build_validation(
    cfg: DictConfig,
    store: CaseStore,
    case_ids: list[str],
    model: SegmentationModel,
    precision: Precision,
    tracker: Tracker,
    *,
    compiled: bool,
) -> Validation:
    """Build the validation of `case_ids` on whole volumes by the window of `cfg.inference`, without TTA.

    `tracker` may log an image of the first case, which the first rank validates.
    """
    average = average_of(cfg.inference)
    predict_average = build_predictor(cfg, model, precision, compiled=compiled)
    load_volume = volume_loader(cfg, store, precision.device)

    def load(case_id: str) -> tuple[Tensor, Tensor]:
        volume, _ = load_volume(case_id)
        labels = to_device(torch.from_numpy(store.read_labels(case_id)), precision.device)
        return volume, store.labels.to_regions(labels[None])[0]

    def predict(volume: Tensor) -> Tensor:
        return average.to_probabilities(predict_average(volume))

    on_case = ValidationImageLogger(store, case_ids[0], tracker)
    return Validation(case_ids, store.labels, load, predict, dice_per_region, on_case)


def in_one_pass(validation: Validation, cfg: DictConfig, model: SegmentationModel, precision: Precision) -> Validation:
    """Return `validation` in one pass over each volume, without images for the tracker.

    A network that takes patches of one shape passes over the volume in windows without overlap.
    """
    window: Callable[..., Tensor] = WholeVolume(model.size_divisor)
    if model.fixed_shape:
        window = SlidingWindow(tuple(cfg.patches.shape), overlap=0, sigma_scale=0.125)
    average = average_of(cfg.inference)
    predict_average = build_predictor(cfg, model, precision, compiled=False, window=window)
    return replace(
        validation,
        predict=lambda volume: average.to_probabilities(predict_average(volume)),
        on_case=lambda case_id, predicted: None,
    )


def run_info(cfg: DictConfig, directory: RunDirectory) -> RunInfo:
    """Describe the run for a tracker, by its configuration and its manifest."""
    resolved = resolve(cfg)
    about, where = resolved["about"], directory.coordinates
    tags = (where.name, f"fold {where.fold}", resolved["data"]["name"], about["baseline"] and f"vs {about['baseline']}")
    return RunInfo(
        name=f"{where.name} f{where.fold} lr{where.lr:g} s{where.seed}",
        group=where.name,
        job="train",
        folder=directory.path,
        config=resolved | {key: value for key, value in directory.manifest().items() if key != "identity"},
        tags=tuple(str(tag) for tag in tags if tag),
        question=about["question"],
        in_sweep=in_sweep(),
    )


def write_manifest(
    cfg: DictConfig,
    directory: RunDirectory,
    store: CaseStore,
    model: torch.nn.Module,
    precision: Precision,
    ranks: DistributedContext,
    *,
    training_cases: int,
) -> None:
    """Write configuration and manifest.

    Raises:
        ConfigError: another run of its name, which was started meanwhile, has other settings.
        RunFailed: the run was started on different data, with other folds, or in a different precision.
    """
    if (changed := data_changed(directory, store)) is not None:
        raise RunFailed(changed)
    computed_in = directory.manifest().get("precision", precision.name)
    if directory.last_checkpoint.exists() and computed_in != precision.name:
        raise RunFailed(
            f"{directory.path} was started in {computed_in} and would be a different run in {precision.name}, as this "
            f"device computes; continue it on a device that computes {computed_in}, or delete that directory"
        )
    device, cpu = precision.device, f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    recorded_cfg = OmegaConf.masked_copy(cfg, [str(key) for key in cfg])
    OmegaConf.update(recorded_cfg, "about.options", None, force_add=True)  # the manifest has them
    flat, where = identity(resolve(cfg)), directory.coordinates
    before = directory.manifest() if directory.last_checkpoint.exists() else {}
    packages = before.get("packages") or {}
    manifest = {
        "experiment": where.name,
        "fold": where.fold,
        "lr": where.lr,
        "seed": where.seed,
        "baseline": cfg.about.baseline,
        "options": list(cfg.about.get("options") or []),
        "identity": flat,
        "config_hash": config_hash(flat),
        "data_fingerprint": store.fingerprint,
        "held_out": store.held_out(where.fold),
        "training_cases": training_cases,
        "code_version": of_all_starts(before.get("code_version"), code_version()),
        "packages": {name: of_all_starts(packages.get(name), version(name)) for name in _PACKAGES},
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu,
        "precision": precision.name,
        **({"deterministic": True} if _is_deterministic(cfg, directory) else {}),
        "world_size": ranks.world_size,
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "gflops": directory.manifest().get("gflops") or _gflops(cfg),
    }
    directory.last_checkpoint.parent.mkdir(parents=True, exist_ok=True)  # the trainer itself creates no folder
    with experiment_lock(directory):
        if not overfits_one_batch(cfg):  # again: another run of the name may have been started meanwhile
            check_same_configuration(SweepRun(str(where), cfg, directory))
        write_text(directory.path / "config.yaml", OmegaConf.to_yaml(recorded_cfg, resolve=True))
        directory.write_manifest(manifest)


def _is_deterministic(cfg: DictConfig, directory: RunDirectory) -> bool:
    """Return whether `trainer.deterministic` holds for the whole run, its earlier starts included."""
    is_resumed = directory.last_checkpoint.exists()
    return bool(cfg.trainer.deterministic) and (not is_resumed or bool(directory.manifest().get("deterministic")))


def _gflops(cfg: DictConfig) -> float | None:
    """Return 10⁹ operations of the forward of one training patch; None if the network reads values of activations."""
    from brats_ablate.model_summary.counts import count

    shape = (1, build.input_channels(cfg), *cfg.patches.shape)
    try:
        return count(lambda: build.build_model(cfg), shape).forward_flop / 1e9
    except RuntimeError:  # the meta device has no values
        return None
