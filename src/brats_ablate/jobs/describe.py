"""`job=describe`: summarize experiments: config diff, parameters, FLOPs, timings, diagram; Markdown, CSV and SVG."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from brats_ablate.config.check import check
from brats_ablate.config.command import experiment_option, options_of_grid, options_of_job, shell_command, typed_options
from brats_ablate.config.locations import option_files, resource_dir
from brats_ablate.errors import ConfigError
from brats_ablate.runs.identity import TRAINING_GROUPS
from brats_ablate.runtime.files import write_text
from brats_ablate.runtime.text import suggest

if TYPE_CHECKING:
    from brats_ablate.model_summary.markdown import Description, Provenance
    from brats_ablate.model_summary.timings import TimedModel, Timing

REFERENCE = "baseline"
"""The experiment that timings are relative to."""

DESCRIBED_GROUPS = (*TRAINING_GROUPS, "inference", "postprocess")
"""The groups whose differences are listed."""


def run(
    cfg: DictConfig,
    *,
    experiments: list[str] | None,
    output: str | None,
    measure: bool,
    timing_shape: tuple[int, int, int],
    timing_width: float,
    repeats: int,
) -> None:
    """Describe the current configuration, or the named experiments under this command's other overrides.

    conf/job/describe.yaml describes the keys. `output` gets `variants.md`, `variants.csv` and `images/<name>.svg`.

    Raises:
        ConfigError: an experiment does not exist, the timed patch does not suit its network, or `repeats` is below 1.
    """
    if measure and repeats < 1:
        raise ConfigError(f"job.repeats={repeats} must be at least 1")
    from brats_ablate.model_summary.markdown import IMAGES, csv_text, markdown, table

    subjects = [cfg] if experiments is None else [compose(name) for name in _ordered(experiments)]
    described = []
    for subject in subjects:
        timing = _time(subject, timing_shape, timing_width, repeats) if measure else None
        # A named experiment and its baseline share the command's overrides; for `cfg` the overrides are the difference.
        described.append(describe(subject, timing, shared_overrides=experiments is not None))
        print(f"{subject.name}: described", flush=True)
    print(table(described))
    if len(described) == 1:
        print(f"\n{described[0].diagram}")
    if output is None:
        return
    provenance = _provenance(cfg, (timing_shape, timing_width, repeats) if measure else None)
    for file, text in {
        "variants.md": markdown(described, provenance),
        "variants.csv": csv_text(described),
        **{f"{IMAGES}/{d.name}.svg": d.svg for d in described},
    }.items():
        write_text(Path(output) / file, text)
        print(f"written: {Path(output) / file}")


def compose(experiment: str, *, with_overrides: bool = True) -> DictConfig:
    """Compose the named experiment with the running command's overrides, except its experiment and job."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    typed = typed_options() if with_overrides else []
    kept = [o for o in typed if not o.lstrip("+").startswith(("experiment=", "job=", "job."))]
    overrides = [f"+experiment={experiment}", *kept]
    if GlobalHydra.instance().is_initialized():
        return hydra_compose("config", overrides)
    with initialize_config_dir(str(resource_dir("conf")), version_base="1.3"):
        return hydra_compose("config", overrides)


def describe(cfg: DictConfig, timing: Timing | None, *, shared_overrides: bool) -> Description:
    """Count and draw the network of `cfg` at its full size, and list the differences from its baseline."""
    from brats_ablate.jobs import build
    from brats_ablate.model_summary.ascii import draw
    from brats_ablate.model_summary.counts import count
    from brats_ablate.model_summary.markdown import Description
    from brats_ablate.model_summary.svg import draw_svg

    check(cfg)
    shape = (1, build.input_channels(cfg), *cfg.patches.shape)
    counts = count(lambda: build.build_model(cfg), shape)
    baseline = cfg.about.baseline or (None if cfg.name == REFERENCE and shared_overrides else REFERENCE)
    return Description(
        name=str(cfg.name),
        question=cfg.about.question,
        paper=cfg.about.paper,
        baseline=baseline,
        changes=tuple(changes(cfg, compose(baseline, with_overrides=shared_overrides))) if baseline else (),
        counts=counts,
        diagram=draw(counts.calls, shape),
        svg=draw_svg(counts.calls, shape, str(cfg.name)),
        timing=timing,
    )


def changes(cfg: DictConfig, other: DictConfig) -> Iterator[str]:
    """Yield `key=value` for each setting of `cfg` that differs from `other`; components by their class's name."""
    for group in DESCRIBED_GROUPS:
        yield from _changes(group, OmegaConf.to_container(cfg[group]), OmegaConf.to_container(other[group]))


def _changes(path: str, node: Any, other: Any) -> Iterator[str]:
    if node == other:
        return
    if not isinstance(node, dict):
        yield f"{path}={node}"
    elif not isinstance(other, dict) or node.get("_target_") != other.get("_target_"):
        network = node.get("network")  # of an adapter
        target = network.get("_target_") if isinstance(network, dict) else node.get("_target_")
        yield f"{path}={str(target).rsplit('.', maxsplit=1)[-1]}"
    else:
        for key in sorted(node.keys() | other.keys()):
            yield from _changes(f"{path}.{key}", node.get(key), other.get(key))


def _ordered(experiments: list[str]) -> list[str]:
    """Check the given names and return them; for ["all"] those of every experiment, grouped by baseline."""
    known = option_files("experiment")
    if experiments == ["all"]:
        baseline_of = {name: compose(name).about.baseline for name in known}
        return sorted(known, key=lambda name: (baseline_of[name] is not None, baseline_of[name] != REFERENCE, name))
    for name in experiments:
        if name not in known:
            raise ConfigError(f"job.experiments: {name} is not an experiment; {suggest(name, known)}")
    return experiments


def _timed_model(cfg: DictConfig, shape: tuple[int, int, int], width: float) -> TimedModel:
    import torch

    from brats_ablate.jobs import build
    from brats_ablate.model_summary.timings import TimedModel
    from brats_ablate.training.device import choose_device
    from brats_ablate.training.precision import Precision

    cfg = cfg.copy()
    cfg.patches.shape, cfg.encoder.width = list(shape), width
    check(cfg)
    device = choose_device(str(cfg.trainer.device), 0)
    model = build.execute_on(build.build_model(cfg), device)
    generator = torch.Generator().manual_seed(0)
    precision = Precision.resolve(str(cfg.trainer.precision), device)
    precision.allow_tf32()
    images = torch.randn(1, build.input_channels(cfg), *shape, generator=generator)
    labels = torch.randint(0, 4, (1, *shape), generator=generator, dtype=torch.uint8)
    return TimedModel(
        model=model,
        loss=build.build_loss(cfg),
        optimizer=build.build_optimizer(cfg, model),
        images=images.to(device, memory_format=torch.channels_last_3d),
        labels=labels.to(device),
        precision=precision,
    )


def _time(cfg: DictConfig, shape: tuple[int, int, int], width: float, repeats: int) -> Timing:
    """Time `cfg` relative to the baseline, both with the settings of `cfg.trainer`."""
    from brats_ablate.model_summary.timings import time_against
    from brats_ablate.runtime.memory import disable_malloc_trim

    reference = compose(REFERENCE)
    reference.trainer = cfg.trainer
    if cfg.trainer.keep_freed_memory:
        disable_malloc_trim()
    return time_against(_timed_model(reference, shape, width), _timed_model(cfg, shape, width), repeats)


def _provenance(cfg: DictConfig, timed: tuple[tuple[int, int, int], float, int] | None) -> Provenance:
    import torch

    from brats_ablate.model_summary.markdown import Provenance
    from brats_ablate.training.device import choose_device
    from brats_ablate.training.precision import Precision

    experiment = experiment_option()
    options = [*([experiment] if experiment else []), *options_of_job(), *options_of_grid()]
    command = shell_command("job=describe", *options)
    patch = f"patch of {'×'.join(str(s) for s in cfg.patches.shape)} voxels"
    if timed is None:
        return Provenance(command, patch, None)
    shape, width, repeats = timed
    device = choose_device(str(cfg.trainer.device), 0)
    precision = Precision.resolve(str(cfg.trainer.precision), device).name
    cpu = f"{torch.get_num_threads()} threads of a CPU ({_cpu_name()})"
    # Training compiles networks on a GPU by default.
    machine = f"{torch.cuda.get_device_name(device)}, not compiled" if device.type == "cuda" else cpu
    timing = (
        f"Times are relative to the baseline, interleaved with it on {machine}, {precision}, torch "
        f"{torch.__version__}, at reduced size: patch {'×'.join(str(s) for s in shape)}, encoder.width={width}, "
        f"batch 1, best of {repeats}. Ratios differ at full size and on other devices. The baseline's own row shows "
        "the measurement error. A – was not measured."
    )
    return Provenance(command, patch, timing)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
