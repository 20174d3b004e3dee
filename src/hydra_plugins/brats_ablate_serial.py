"""The default launcher: runs one after the other in this process, after all of them have been checked.

Hydra's own launcher starts the first run before it composes the last one. This one checks every run first, continues
after a failed run, stops when a run is interrupted, and ends with a summary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra.core.utils import run_job
from omegaconf import DictConfig

from hydra_plugins._brats_ablate_checked import CheckedLauncher

if TYPE_CHECKING:
    from brats_ablate.launch.sweep import SweepRun


class SerialLauncher(CheckedLauncher):
    """`hydra/launcher=serial`."""

    def run_all(self, runs: Sequence[SweepRun]) -> int:
        """Run them one after the other."""
        from brats_ablate.errors import UserError
        from brats_ablate.launch.outcome import (
            ALREADY_FINISHED,
            Outcome,
            left_outcomes,
            print_summary,
            skipped_outcomes,
        )
        from brats_ablate.launch.sweep import plan_sweep
        from brats_ablate.launch.time_left import SweepClock
        from brats_ablate.runs.state import RunState
        from brats_ablate.runtime.output import print_line
        from brats_ablate.runtime.signals import EXIT_CODE

        codes = [0]
        outcomes = {i: Outcome(each.label, RunState.NOT_STARTED) for i, each in enumerate(runs)}
        clock = SweepClock(runs)
        for i, each in enumerate(runs):
            print_line(f"[{i + 1}/{len(runs)}] {each.label}{clock.text(range(i, len(runs)))}")
            try:
                plan = plan_sweep([each])
            except UserError as error:
                outcomes[i] = Outcome.refused(each.label, error)
                codes.append(error.exit_code)
                continue
            is_elsewhere = bool(plan.already_submitted or plan.running_elsewhere)
            if is_elsewhere and self.ranks_per_run == 1:  # of several, another rank can hold the lock already
                left = left_outcomes([each], plan.already_submitted) | skipped_outcomes([each], plan)
                outcomes[i] = left[0]
                continue
            was_finished = bool(plan.finished)
            folders = ("hydra.sweep.dir", "hydra.sweep.subdir")
            code = int(run_job(self._exit_code, each.cfg, *folders, hydra_context=self.context).return_value)
            codes.append(code)
            status, label = each.status, each.label
            finished = ALREADY_FINISHED if was_finished else RunState.FINISHED
            state = {0: finished, EXIT_CODE: RunState.INTERRUPTED}.get(code, RunState.FAILED)
            outcomes[i] = Outcome.from_record(label, status, state)
            if state == RunState.FAILED and (status is None or status.state != RunState.FAILED):
                outcomes[i] = Outcome(label, state, reason="see its message above")
            if code == EXIT_CODE:
                break
        if print_summary(outcomes):
            print_line("run the same command again to resume unfinished runs")
        return max(codes)

    def _exit_code(self, cfg: DictConfig) -> int:
        from brats_ablate.errors import JobFailed

        try:
            self.task_function(cfg)
        except JobFailed as failure:
            return failure.exit_code
        return 0
