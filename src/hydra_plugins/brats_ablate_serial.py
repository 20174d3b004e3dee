"""The default launcher: one run after the other in this process, after all of them have been checked.

Hydra's own launcher starts the first run before it has looked at the last one's configuration. This one composes and
checks every run first, goes on when a run fails, and ends with what happened to each.
"""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.utils import JobReturn, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict


class SerialLauncher(Launcher):
    """`hydra/launcher=serial`."""

    def __init__(self) -> None:
        self.config: DictConfig | None = None
        self.context: HydraContext | None = None
        self.task_function: TaskFunction | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.context, self.task_function = config, hydra_context, task_function

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Check every configuration, then run each. Raises ConfigError before the first run starts."""
        from brats_ablate.config.check import check
        from brats_ablate.errors import ConfigError

        setup_globals()
        assert self.config is not None
        assert self.context is not None
        assert self.task_function is not None
        configurations = []
        for number, overrides in enumerate(job_overrides, start=initial_job_idx):
            composed = self.context.config_loader.load_sweep_config(self.config, list(overrides))
            with open_dict(composed):
                composed.hydra.job.id = str(number)
                composed.hydra.job.num = number
            label = " ".join(filter_overrides(overrides))
            try:
                check(composed)
            except ConfigError as error:
                raise ConfigError(f"{error} (in: {label})") from None
            configurations.append((label, composed))

        returns = []
        for position, (label, composed) in enumerate(configurations, start=1):
            print(f"[{position}/{len(configurations)}] {label}", flush=True)
            returns.append(
                run_job(
                    hydra_context=self.context,
                    task_function=self.task_function,
                    config=composed,
                    job_dir_key="hydra.sweep.dir",
                    job_subdir_key="hydra.sweep.subdir",
                )
            )
        _summarise([label for label, _ in configurations], returns)
        return returns


def _summarise(labels: Sequence[str], returns: Sequence[JobReturn]) -> None:
    codes = [r.return_value for r in returns]
    failed = [label for label, code in zip(labels, codes, strict=True) if code != 0]
    if failed:
        print(f"{len(failed)} of {len(labels)} runs failed; the same command runs them again:", flush=True)
        for label in failed:
            print(f"  {label}", flush=True)
