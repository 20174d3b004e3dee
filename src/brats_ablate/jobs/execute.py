"""Execution of one composed configuration: the check, then its job."""

from __future__ import annotations

import sys
import traceback
from typing import Any

from omegaconf import DictConfig, OmegaConf

from brats_ablate.config.check import check, check_data
from brats_ablate.config.locations import check_outputs
from brats_ablate.errors import UserError
from brats_ablate.jobs.component_check import check_components
from brats_ablate.jobs.initial_weights import use_initial_weights
from brats_ablate.jobs.network_check import check_network
from brats_ablate.jobs.prepared_data import use_prepared_data
from brats_ablate.runtime import files, signals
from brats_ablate.runtime.output import discard_unread_output
from brats_ablate.runtime.text import printable


def _overrides() -> list[str]:
    """Return what the command line sets; [] for a configuration that Hydra did not compose."""
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def execute(cfg: DictConfig) -> int:
    """Check `cfg`, run its job and return the exit code. Errors are printed: the other runs of a sweep continue."""
    from hydra.utils import get_method

    try:
        use_prepared_data(cfg, _overrides())
        check(cfg)
        check_outputs(cfg)
        check_components(cfg)
        check_network(cfg)
        check_data(cfg)
        use_initial_weights(cfg)
        job: Any = OmegaConf.to_container(cfg.job, resolve=True)
        get_method(job.pop("_target_"))(cfg, **job)
    except signals.Interrupted:
        discard_unread_output()  # a closed terminal interrupts, too
        print("brats-ablate: interrupted, checkpoint saved; re-run the same command to resume", file=sys.stderr)
        return signals.EXIT_CODE
    except UserError as error:
        print(f"brats-ablate: {printable(str(error))}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        sentence = files.os_error_message(error) if isinstance(error, OSError) else None
        if sentence is None:
            traceback.print_exc()
        else:
            print(f"brats-ablate: {sentence}", file=sys.stderr)
        return 1
    return 0
