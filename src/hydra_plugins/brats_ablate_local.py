"""The launchers for one machine: several runs at a time, each in its own processes with its own GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra_plugins._brats_ablate_checked import CheckedLauncher

if TYPE_CHECKING:
    from brats_ablate.launch.sweep import SweepRun


class SubmititLocalLauncher(CheckedLauncher):
    """`hydra/launcher=submitit_local`: on the CPU.

    Args:
        max_parallel: runs at the same time.
        ranks_per_run: processes that train one run together.
        poll_seconds: time between two checks of the runs.
    """

    def __init__(self, max_parallel: int, ranks_per_run: int, poll_seconds: float) -> None:
        self.max_parallel, self.ranks_per_run = _check_positive(max_parallel), ranks_per_run
        self.poll_seconds = poll_seconds

    def run_all(self, runs: Sequence[SweepRun]) -> int:
        """Run them all, `max_parallel` at a time."""
        return _launch(self, runs, [()] * self.max_parallel, self.poll_seconds)


class LocalGpusLauncher(CheckedLauncher):
    """`hydra/launcher=local_gpus`: each concurrent run has its own devices, one rank per device.

    Args:
        devices: the GPUs to use, by number or UUID; None for all that are visible.
        devices_per_run: GPUs that train one run together.
        max_parallel: runs at the same time; None for as many as the devices allow.
        poll_seconds: time between two checks of the runs.
    """

    def __init__(
        self, devices: list[int | str] | None, devices_per_run: int, max_parallel: int | None, poll_seconds: float
    ) -> None:
        self.devices = devices
        self.ranks_per_run, self.poll_seconds = devices_per_run, poll_seconds
        self.max_parallel = None if max_parallel is None else _check_positive(max_parallel)

    def run_all(self, runs: Sequence[SweepRun]) -> int:
        """Run them all, as many at a time as there are devices."""
        from brats_ablate.launch.devices import named_devices, visible_devices
        from brats_ablate.launch.local import make_slots

        devices = visible_devices() if self.devices is None else named_devices(self.devices)
        slots = make_slots(devices, self.ranks_per_run)[: self.max_parallel]
        return _launch(self, runs, slots, self.poll_seconds)


def _launch(
    launcher: CheckedLauncher, runs: Sequence[SweepRun], slots: Sequence[tuple[str, ...]], poll_seconds: float
) -> int:
    from brats_ablate.jobs.execute import execute
    from brats_ablate.launch.local import launch

    return launch(runs, execute, launcher.folder, slots, launcher.ranks_per_run, poll_seconds)


def _check_positive(max_parallel: int) -> int:
    from brats_ablate.errors import ConfigError

    if max_parallel < 1:
        raise ConfigError(f"hydra.launcher.max_parallel={max_parallel} must be at least 1")
    return max_parallel
