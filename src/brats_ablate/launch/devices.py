"""The GPUs of this machine that a launcher may use, named as in CUDA_VISIBLE_DEVICES: by number or by UUID."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from itertools import takewhile

from brats_ablate.errors import ConfigError
from brats_ablate.launch.submission import run_command

_NAME = re.compile(r"\d+|(GPU|MIG)-[\w/-]+")


def visible_devices() -> list[str]:
    """Return the machine's GPUs, or those that CUDA_VISIBLE_DEVICES leaves.

    On a machine with partitioned GPUs (MIG) all are named by UUID, because a number does not reach every instance.

    Raises:
        ConfigError: CUDA_VISIBLE_DEVICES contains something other than numbers and UUIDs.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = takewhile(lambda name: name != "-1", map(str.strip, visible.split(",")))  # CUDA stops there, too
        return _checked(filter(None, names), f"CUDA_VISIBLE_DEVICES={visible}")
    if shutil.which("nvidia-smi") is None:
        return []
    uuids = re.findall(r"UUID: ([^)]+)\)", run_command("nvidia-smi", "--list-gpus").stdout)
    if not any(uuid.startswith("MIG-") for uuid in uuids):
        return [str(number) for number in range(len(uuids))]
    # The instances of a GPU follow it.
    followed_by = zip(uuids, [*uuids[1:], ""], strict=True)
    return [uuid for uuid, after in followed_by if uuid.startswith("MIG-") or not after.startswith("MIG-")]


def named_devices(devices: object) -> list[str]:
    """Return the names that `hydra.launcher.devices` lists.

    Raises:
        ConfigError: it is not a list, or contains something other than numbers and UUIDs.
    """
    if isinstance(devices, str) or not isinstance(devices, Iterable):
        raise ConfigError(f"hydra.launcher.devices={devices} must be a list, for example [{devices}]")
    names = [str(device) for device in devices]
    return _checked(names, f"hydra.launcher.devices=[{','.join(names)}]")


def _checked(names: Iterable[str], setting: str) -> list[str]:
    devices = list(names)
    for name in devices:
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{setting}: {name} is not a GPU's number or UUID (GPU-…, MIG-…, see nvidia-smi -L); correct it"
                + ("" if setting.startswith("hydra") else ", or set hydra.launcher.devices")
            )
    return devices
