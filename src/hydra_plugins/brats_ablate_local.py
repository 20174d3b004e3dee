"""The launchers for one machine: several runs at a time, in processes of their own, each with its own GPUs."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.utils import JobReturn

from hydra_plugins._brats_ablate_checked import CheckedLauncher, Composed


class SubmititLocalLauncher(CheckedLauncher):
    """`hydra/launcher=submitit_local`: on the CPU.

    Args:
        max_parallel: runs at the same time.
        ranks_per_run: processes that train one run together.
        poll_seconds: how often the runs are looked at.
    """

    def __init__(self, max_parallel: int, ranks_per_run: int, poll_seconds: float) -> None:
        self.max_parallel, self.ranks, self.poll_seconds = _positive(max_parallel), ranks_per_run, poll_seconds

    def gpus_per_run(self) -> int:
        return self.ranks

    def run_all(self, runs: Sequence[Composed]) -> Sequence[JobReturn]:
        from brats_ablate.launch.local import launch
        from brats_ablate.launch.sweep import as_sweep_run

        works = [as_sweep_run(r.cfg, r.label) for r in runs]
        _, code = launch(works, self.folder, [()] * self.max_parallel, self.ranks, self.poll_seconds)
        return self.finish(runs, code)


class LocalGpusLauncher(CheckedLauncher):
    """`hydra/launcher=local_gpus`: each concurrent run has devices of its own, one rank per device.

    Args:
        devices: numbers of the GPUs to use; None for all that are visible.
        devices_per_run: GPUs that train one run together.
        max_parallel: runs at the same time; None for as many as there are devices.
        poll_seconds: how often the runs are looked at.
    """

    def __init__(
        self, devices: list[int] | None, devices_per_run: int, max_parallel: int | None, poll_seconds: float
    ) -> None:
        self.devices = None if devices is None else list(devices)
        self.devices_per_run, self.poll_seconds = devices_per_run, poll_seconds
        self.max_parallel = None if max_parallel is None else _positive(max_parallel)

    def gpus_per_run(self) -> int:
        return self.devices_per_run

    def run_all(self, runs: Sequence[Composed]) -> Sequence[JobReturn]:
        from brats_ablate.launch.local import launch, slots_of, visible_devices
        from brats_ablate.launch.sweep import as_sweep_run

        devices = visible_devices() if self.devices is None else self.devices
        slots = slots_of(devices, self.devices_per_run)[: self.max_parallel]
        works = [as_sweep_run(r.cfg, r.label) for r in runs]
        _, code = launch(works, self.folder, slots, self.devices_per_run, self.poll_seconds)
        return self.finish(runs, code)


def _positive(max_parallel: int) -> int:
    from brats_ablate.errors import ConfigError

    if max_parallel < 1:
        raise ConfigError(f"hydra.launcher.max_parallel={max_parallel} must be at least 1")
    return max_parallel
