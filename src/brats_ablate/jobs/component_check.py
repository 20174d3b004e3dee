"""Check of parts that are not this program's, before a run directory is made or anything is submitted."""

from __future__ import annotations

import warnings

from omegaconf import DictConfig

from brats_ablate.config.check import resolve
from brats_ablate.config.loading import require_loadable
from brats_ablate.config.source import PACKAGE, find
from brats_ablate.config.trust import is_own_class, targets
from brats_ablate.errors import ConfigError, UserError
from brats_ablate.jobs import build
from brats_ablate.runs.directory import trains_a_run
from brats_ablate.runtime.text import first_line

_PLAN = "brats_ablate.jobs.sweep.plan.run"
_TRIAL_EDGE = 16


def trains_or_plans(cfg: DictConfig) -> bool:
    """Return whether the job of `cfg` trains its run, or plans to."""
    job = str(cfg.job._target_)
    return trains_a_run(job) or job == _PLAN


def check_components(cfg: DictConfig) -> None:
    """Import the classes and functions of others that a job names, and try the loss of a run.

    Of jobs that train nothing, only the job itself is imported.

    Raises:
        ConfigError: one cannot be imported, or the loss does not return a scalar.
    """
    tree = resolve(cfg)
    for key, target in targets(tree if trains_or_plans(cfg) else {"job": tree["job"]}):
        if not _is_known(str(target)):
            require_loadable(key, str(target))
    if trains_or_plans(cfg) and not is_own_class(str(cfg.loss._target_)):
        _try_loss(cfg)


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

    try:
        loss = build.build_loss(cfg)
    except UserError:
        raise
    except Exception as error:
        reason = first_line(error.__cause__ or error)
        raise ConfigError(
            f"loss: {cfg.loss._target_} cannot be constructed ({reason}); correct its arguments"
        ) from error
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
