"""Execution of one composed configuration: the check, then its job."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from brats_ablate.config.check import check, check_data
from brats_ablate.config.command import typed_options
from brats_ablate.config.locations import check_outputs
from brats_ablate.errors import UserError
from brats_ablate.jobs.component_check import check_components
from brats_ablate.jobs.initial_weights import use_initial_weights
from brats_ablate.jobs.network_check import check_network
from brats_ablate.jobs.prepared_data import use_prepared_data
from brats_ablate.runtime import files, signals
from brats_ablate.runtime.output import print_message


def check_configuration(cfg: DictConfig, overrides: Iterable[str]) -> None:
    """Check a composed configuration, after setting in it what the prepared data decide.

    Args:
        cfg: changed in place.
        overrides: the command line's, which are refused where they contradict the data.

    Raises:
        ConfigError: it is invalid.
    """
    use_prepared_data(cfg, overrides)
    check(cfg)
    check_outputs(cfg)
    check_components(cfg)
    check_network(cfg)


def call_job(cfg: DictConfig, **further: object) -> None:
    """Call the job of `cfg` with its keys and `further` arguments."""
    from hydra.utils import get_method

    job: Any = OmegaConf.to_container(cfg.job, resolve=True)
    get_method(job.pop("_target_"))(cfg, **job, **further)


def execute(cfg: DictConfig) -> int:
    """Check `cfg`, run its job and return the exit code. Errors are printed: the other runs of a sweep continue."""
    try:
        check_configuration(cfg, typed_options())
        check_data(cfg)
        use_initial_weights(cfg)
        call_job(cfg)
    except signals.Interrupted:
        print_message("interrupted, checkpoint saved; re-run the same command to resume")
        return signals.EXIT_CODE
    except UserError as error:
        print_message(error)
        return error.exit_code
    except Exception as error:
        sentence = files.os_error_message(error) if isinstance(error, OSError) else None
        if sentence is None:
            traceback.print_exc()
        else:
            print_message(sentence)
        return 1
    return 0
