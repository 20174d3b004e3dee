"""Executes one composed configuration: checks it as a whole, then runs the job that it names."""

from __future__ import annotations

import errno
import sys
import traceback
from typing import Any

from omegaconf import DictConfig, OmegaConf

from brats_ablate import interruption
from brats_ablate.config.check import check, check_data
from brats_ablate.errors import UserError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, the user's quota, the process's limit


def execute(cfg: DictConfig) -> int:
    """Run `cfg.job`. Errors are printed, not raised: in a sweep the other jobs go on. Returns the exit code."""
    from hydra.utils import get_method

    try:
        check(cfg)
        check_data(cfg)
        job: Any = OmegaConf.to_container(cfg.job, resolve=True)
        get_method(job.pop("_target_"))(cfg, **job)
    except interruption.Interrupted:
        print("brats-ablate: stopped as asked, state saved; the same command continues it", file=sys.stderr)
        return interruption.EXIT_CODE
    except UserError as error:
        print(f"brats-ablate: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        sentence = _sentence(error)
        if sentence is None:
            traceback.print_exc()
        else:
            print(f"brats-ablate: {sentence}", file=sys.stderr)
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def _sentence(error: OSError) -> str | None:
    """What the file system refused and the remedy; None if it does not say, or is no fault of a file."""
    if error.errno in _NO_SPACE:
        return (
            f"{error.strerror}: {error.filename or 'the output folder'}; free some space and run the same command again"
        )
    if error.errno is None or error.filename is None:
        return None
    return f"{error.strerror}: {error.filename}; check path and rights"
