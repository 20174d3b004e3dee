"""`trainer.deterministic`: operations that compute the same bits each time, for this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from brats_ablate.errors import ConfigError

_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
_REPRODUCIBLE = (":4096:8", ":16:8")


@contextmanager
def deterministic_algorithms(enabled: bool) -> Iterator[None]:
    """Let this process use deterministic operations only within the block, if `enabled`.

    Enter it before CUDA is initialized: cuBLAS reads its workspace setting once. An operation that has no deterministic
    implementation then raises a RuntimeError, which `record_failure` explains.

    Raises:
        ConfigError: the environment gives cuBLAS a workspace with which it is not reproducible.
    """
    if not enabled:
        yield
        return
    workspace = os.environ.get(_CUBLAS)
    if workspace not in (None, *_REPRODUCIBLE):
        raise ConfigError(
            f"{_CUBLAS}={workspace} of the environment lets cuBLAS vary, so trainer.deterministic=true is impossible; "
            f"unset it or set it to {_REPRODUCIBLE[0]}"
        )
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn_before = cudnn.benchmark, cudnn.deterministic
    os.environ[_CUBLAS] = workspace or _REPRODUCIBLE[0]
    torch.use_deterministic_algorithms(True)
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        cudnn.benchmark, cudnn.deterministic = cudnn_before
        if workspace is None:
            os.environ.pop(_CUBLAS, None)
