"""The launcher for SLURM: submits the runs as one job array, follows it, and ends with a summary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra_plugins._brats_ablate_checked import CheckedLauncher, container
from hydra_plugins._brats_ablate_trials import wants_scores

if TYPE_CHECKING:
    from brats_ablate.launch.sweep import SweepRun


class SlurmLauncher(CheckedLauncher):
    """`hydra/launcher=slurm_a100`, `slurm_a100_ddp`, `slurm`.

    Args:
        job_name: name in the queue.
        nodes, tasks_per_node: a run trains with nodes × tasks_per_node ranks.
        gpus_per_node: 0 trains on the CPU.
        cpus_per_task, mem_gb: per rank, per node; None for the site's default.
        timeout_min: time limit; a run that reaches it saves, is requeued and resumes.
        signal_delay_s: seconds before the limit at which SLURM signals the run to save.
        array_parallelism: runs at the same time.
        partition, account, qos, constraint: site settings; None for the site's default.
        setup: shell lines before the run (modules, environment).
        additional_parameters: any other sbatch option, by its long name.
        wait: follow the jobs to their end; False returns after submission.
        poll_seconds: time between two queries of SLURM.
    """

    def __init__(
        self,
        job_name: str,
        nodes: int,
        tasks_per_node: int,
        gpus_per_node: int,
        cpus_per_task: int | None,
        mem_gb: float | None,
        timeout_min: int,
        signal_delay_s: int,
        array_parallelism: int,
        partition: str | None,
        account: str | None,
        qos: str | None,
        constraint: str | None,
        setup: list[str],
        additional_parameters: dict[str, Any] | None,
        wait: bool,
        poll_seconds: float,
    ) -> None:
        self.ranks_per_run = nodes * tasks_per_node
        self.wait, self.poll_seconds = wait, poll_seconds
        parameters: dict[str, Any] = {"name": job_name, "nodes": nodes, "tasks_per_node": tasks_per_node}
        parameters |= {"gpus_per_node": gpus_per_node or None, "cpus_per_task": cpus_per_task, "mem_gb": mem_gb}
        parameters["timeout_min"] = timeout_min
        site: dict[str, Any] = {"partition": partition, "account": account, "qos": qos, "constraint": constraint}
        site |= {"signal_delay_s": signal_delay_s, "array_parallelism": array_parallelism}
        site["setup"] = container(setup) or None
        # Preemption and node failure put the job back into the queue even where the site's default is to cancel it.
        site["additional_parameters"] = {"requeue": True, **(container(additional_parameters) or {})}
        parameters |= {f"slurm_{key}": value for key, value in site.items()}
        self.parameters = {key: value for key, value in parameters.items() if value is not None}

    def run_all(self, runs: Sequence[SweepRun]) -> int:
        """Submit them all as one array; with `wait`, follow them to their end."""
        from brats_ablate.errors import ConfigError
        from brats_ablate.jobs.execute import execute
        from brats_ablate.launch.slurm import launch

        if not self.wait and wants_scores(self.config):
            raise ConfigError("hydra.launcher.wait=false returns before there are scores to search by; leave it out")
        return launch(runs, execute, self.folder, self.parameters, wait=self.wait, poll_seconds=self.poll_seconds)
