"""Training that kills its own process inside a write: `job._target_=chaos.train.run`, with $CHAOS_KILLS a folder.

A file `fsync` or `replace` there ends the next process that makes this call, and is removed.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from brats_ablate.jobs import train


def run(cfg: DictConfig) -> None:
    """Train as `job=train` does."""
    for name in ("fsync", "replace"):
        setattr(os, name, _killed_in(name, getattr(os, name)))
    train.run(cfg)


def _killed_in(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    request = Path(os.environ["CHAOS_KILLS"]) / name

    def wrapped(*arguments: Any, **options: Any) -> Any:
        if request.exists():
            request.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **options)

    return wrapped
