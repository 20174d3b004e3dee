"""Check of parts that are not this program's, before a run directory is made or anything is submitted."""

from __future__ import annotations

import warnings

from omegaconf import DictConfig

from brats_ablate.config.check import resolve
from brats_ablate.config.loading import require_loadable
from brats_ablate.config.source import PACKAGE, find
from brats_ablate.config.trust import targets
from brats_ablate.errors import ConfigError, ConstructionFailed, UserError
from brats_ablate.jobs import build
from brats_ablate.runs.directory import trains_a_run
from brats_ablate.runtime.files import to_json
from brats_ablate.runtime.text import first_line

_PLAN = "brats_ablate.jobs.sweep.plan.run"
_TRIAL_EDGE = 16
_MANY_STEPS = 1_000_000
_PARTS = ("inputs", "patches", "augment", "supervision", "auxiliary", "loss", "optimizer", "schedule", "validation")
"""Groups that are constructed without data or an effect outside."""
_OTHER_ARGUMENTS = ("lr", "labels", "supervision", "auxiliary", "model", "encoder")
"""What the construction of one depends on, too."""
CONSTRUCTED: set[str] = set()
"""Parts that could be constructed, so that a sweep tries each of them once."""


def trains_or_plans(cfg: DictConfig) -> bool:
    """Return whether the job of `cfg` trains its run, or plans to."""
    job = str(cfg.job._target_)
    return trains_a_run(job) or job == _PLAN


def check_components(cfg: DictConfig) -> None:
    """Import the classes and functions of others that a job names; construct the parts of a run, and try some.

    Of jobs that train nothing, only the job itself is imported.

    Raises:
        ConfigError: one cannot be imported or constructed, or the loss or the schedule does not return a scalar.
    """
    tree = resolve(cfg)
    for key, target in targets(tree if trains_or_plans(cfg) else {"job": tree["job"]}):
        if not _is_known(str(target)):
            require_loadable(key, str(target))
    if not trains_or_plans(cfg):
        return
    for group in _PARTS:
        key = to_json([group, *(tree[name] for name in (group, *_OTHER_ARGUMENTS))])
        is_own = all(str(target).startswith(f"{PACKAGE}.") for _, target in targets(tree[group]))
        if is_own or key in CONSTRUCTED:
            continue
        try:
            _construct(cfg, group)
        except ConstructionFailed as error:
            # What submits a run may lack the GPU that the part asks for.
            if not isinstance(error.__cause__, RuntimeError) and "CUDA" not in str(error.__cause__):
                raise
        CONSTRUCTED.add(key)


def _construct(cfg: DictConfig, group: str) -> None:
    if group == "loss":
        _try_loss(cfg)
    elif group == "optimizer":
        from brats_ablate.models.trial import on_meta_device

        build.build_optimizer(cfg, on_meta_device(lambda: build.build_model(cfg)))
    elif group == "schedule":
        _try_schedule(cfg)
    else:
        build.instantiate(cfg[group])


def _try_schedule(cfg: DictConfig) -> None:
    """Call the schedule of a run at the first of many steps.

    Raises:
        ConfigError: it cannot be constructed, or has no method that returns a number.
    """
    schedule = build.instantiate(cfg.schedule)
    try:
        float(schedule.factor(0, _MANY_STEPS))
    except (TypeError, AttributeError) as error:
        raise ConfigError(
            f"schedule: {type(schedule).__name__} needs a method factor(step, total_steps) that returns a number "
            f"({first_line(error)}); correct it"
        ) from error


def _is_known(target: str) -> bool:
    """Return whether the source shows that this program, torch or MONAI has `target`: then nothing is imported."""
    if not target.startswith((f"{PACKAGE}.", "torch.", "monai.")):
        return False
    try:
        return find(target) is not None
    except LookupError:
        return False


def _try_loss(cfg: DictConfig) -> None:
    """Call the loss of a run on a small batch of zeros, as the training will on patches.

    Raises:
        ConfigError: it cannot be constructed, or returns no scalar.
    """
    import torch

    loss = build.build_loss(cfg)
    batch = min(int(cfg.trainer.batch_size), 2)  # of one sample, a loss for each sample is a scalar
    patch = (_TRIAL_EDGE,) * 3
    logits = torch.zeros(batch, len(build.build_scheme(cfg).regions), *patch, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the training shows them
        try:
            loss.region_terms(logits, torch.zeros(batch, *patch, dtype=torch.uint8))
        except UserError:
            raise
        except Exception:  # it may need larger patches, or other values: the training shows that
            return
