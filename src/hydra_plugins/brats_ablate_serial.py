"""The default launcher: one run after the other in this process, after all of them have been checked.

Hydra's own launcher starts the first run before it has looked at the last one's configuration. This one composes and
checks every run first, goes on when a run fails, stops when one is interrupted, and ends with what happened to each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra.core.utils import JobReturn, run_job

from hydra_plugins._brats_ablate_checked import CheckedLauncher, Composed

if TYPE_CHECKING:
    from brats_ablate.launch.outcome import Outcome
    from brats_ablate.launch.sweep import SweepRun


class SerialLauncher(CheckedLauncher):
    """`hydra/launcher=serial`."""

    def run_all(self, runs: Sequence[Composed]) -> Sequence[JobReturn]:
        from brats_ablate.launch.outcome import NOT_STARTED, Outcome, table
        from brats_ablate.launch.sweep import as_sweep_run
        from brats_ablate.runs.directory import FINISHED
        from brats_ablate.runtime.signals import EXIT_CODE

        returns: list[JobReturn] = []
        outcomes: list[Outcome] = []
        works = [as_sweep_run(each.cfg, each.label) for each in runs]
        for position, (each, its) in enumerate(zip(runs, works, strict=True), start=1):
            print(f"[{position}/{len(runs)}] {each.label}", flush=True)
            before = its.run.status() if its.run else None
            returns.append(
                run_job(
                    hydra_context=self.context,
                    task_function=self.task_function,
                    config=each.cfg,
                    job_dir_key="hydra.sweep.dir",
                    job_subdir_key="hydra.sweep.subdir",
                )
            )
            outcomes.append(_outcome(its, returns[-1].return_value, before is not None and before.state == FINISHED))
            if returns[-1].return_value == EXIT_CODE:
                break
        outcomes += [Outcome(each.label, NOT_STARTED) for each in works[len(outcomes) :]]
        print(table(outcomes), flush=True)
        if any(each.is_failure for each in outcomes):
            print("the same command runs again what is not finished", flush=True)
        return returns


def _outcome(as_sweep_run: SweepRun, code: int, finished_before: bool) -> Outcome:
    from brats_ablate.launch.outcome import BEFORE, Outcome, of_status
    from brats_ablate.runs.directory import FAILED, FINISHED, INTERRUPTED
    from brats_ablate.runtime import signals

    status = as_sweep_run.run.status() if as_sweep_run.run else None
    if code == 0:
        return of_status(as_sweep_run.label, status, BEFORE if finished_before else FINISHED)
    if code == signals.EXIT_CODE:
        return of_status(as_sweep_run.label, status, INTERRUPTED)
    if status is not None and status.state == FAILED:
        return of_status(as_sweep_run.label, status, FAILED)
    return Outcome(as_sweep_run.label, FAILED, reason="see its message above")
