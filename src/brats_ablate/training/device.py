"""The device of a process: the CPU, or one GPU of its own."""

from __future__ import annotations

import os
import re

import torch

from brats_ablate.errors import ConfigError
from brats_ablate.runtime.ranks import local_world_size


def choose_device(name: str, local_rank: int) -> torch.device:
    """Return the device of this process and make it CUDA's current one.

    Events and pinned memory belong to the current device: without this, those of every rank would be on the first GPU.

    Args:
        name: `cpu`, `cuda`, `auto`: a GPU if there is one that this torch is built for, else the CPU; or one GPU of
            several, as `cuda:1`, whichever process this is.
        local_rank: the number of this process among those on its machine.

    Raises:
        ConfigError: there is no usable GPU, or there are fewer than ranks on this machine. With `auto` only if there is
            a GPU at all, or should be: SLURM or the user names one.
    """
    require_gpus(name, max(local_rank + 1, local_world_size()))
    if name == "cpu" or (name == "auto" and torch.cuda.device_count() == 0):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError(_no_gpu(name))
    number = name.partition(":")[2]
    device = torch.device("cuda", int(number) if number else local_rank % torch.cuda.device_count())
    if device.index >= torch.cuda.device_count():
        visible = ", ".join(f"cuda:{i}" for i in range(torch.cuda.device_count()))
        raise ConfigError(f"trainer.device={name} is none of the visible GPUs, {visible}; name one of them")
    torch.cuda.set_device(device)
    return device


def require_gpus(name: str, ranks: int) -> None:
    """Check that each of `ranks` processes of this machine can have the device `name`; does not initialize CUDA.

    Raises:
        ConfigError: there is no usable GPU, or there are fewer than `ranks`; with `auto` as `choose_device`.
    """
    count = 0 if name == "cpu" else torch.cuda.device_count()  # by NVML
    if count == 0 and (name.startswith("cuda") or (name == "auto" and _names_a_gpu())):
        raise ConfigError(_no_gpu(name))
    if 0 < count < ranks and not _bound_by_slurm():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        by = "" if visible is None else f" (CUDA_VISIBLE_DEVICES={visible})"
        raise ConfigError(
            f"{ranks} ranks on this machine, but {count} GPU{' is' if count == 1 else 's are'} visible{by}; give each "
            f"rank a GPU (on SLURM hydra.launcher.gpus_per_node={ranks}), lower trainer.ranks and trainer.devices, or "
            "set trainer.device=cpu"
        )


def _names_a_gpu() -> bool:
    """Return True if CUDA_VISIBLE_DEVICES names a GPU: neither "", nor -1, nor SLURM's NoDevFiles."""
    return re.match(r"\s*(\d|GPU-|MIG-)", os.environ.get("CUDA_VISIBLE_DEVICES", "")) is not None


def _bound_by_slurm() -> bool:
    """Return True where SLURM shows each task only its own GPUs, regardless of how many tasks the machine has."""
    return "SLURM_GPUS_PER_TASK" in os.environ or "gres/gpu" in os.environ.get("SLURM_TRES_PER_TASK", "")


def _no_gpu(name: str) -> str:
    """Return why `trainer.device=NAME` cannot use a GPU here, and the remedy."""
    key, otherwise = f"trainer.device={name}", "or set trainer.device=cpu"
    if torch.version.cuda is None and torch.version.hip is None:
        return f"{key}: torch {torch.__version__} is a CPU build; install one for CUDA (pytorch.org), {otherwise}"
    visible, has_gpus = os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count() > 0
    try:
        torch.cuda.init()
        reason = "no GPU is visible"
    except RuntimeError as error:
        reason = str(error).splitlines()[0].split(". ")[0].rstrip(".")  # torch's own, e.g. that there is no driver
    if has_gpus:
        return f"{key}: {reason}; update the driver, install a torch for it (pytorch.org), {otherwise}"
    if visible is not None and "driver" not in reason:
        if not visible.strip():
            remedy = "unset it (hydra/launcher=submitit_local empties it; local_gpus gives each run a GPU)"
            return f"{key}: CUDA_VISIBLE_DEVICES is empty, which hides every GPU; {remedy}, {otherwise}"
        return f"{key}: CUDA_VISIBLE_DEVICES={visible} leaves no usable GPU; correct it, {otherwise}"
    return f"{key}: {reason}; start on a machine with a GPU and its driver, {otherwise}"
