"""The default launcher: one run after the other in this process, after all of them have been checked.

Hydra's own launcher starts the first run before it has looked at the last one's configuration. This one composes and
checks every run first, goes on when a run fails, stops when one is interrupted, and ends with what happened to each.
"""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.utils import JobReturn, run_job

from hydra_plugins._brats_ablate_checked import CheckedLauncher, Composed


class SerialLauncher(CheckedLauncher):
    """`hydra/launcher=serial`."""

    def run_all(self, runs: Sequence[Composed]) -> Sequence[JobReturn]:
        from brats_ablate.interruption import EXIT_CODE

        returns: list[JobReturn] = []
        for position, each in enumerate(runs, start=1):
            print(f"[{position}/{len(runs)}] {each.label}", flush=True)
            returns.append(
                run_job(
                    hydra_context=self.context,
                    task_function=self.task_function,
                    config=each.cfg,
                    job_dir_key="hydra.sweep.dir",
                    job_subdir_key="hydra.sweep.subdir",
                )
            )
            if returns[-1].return_value == EXIT_CODE:
                print(f"interrupted; {len(runs) - position} runs not started; the same command goes on", flush=True)
                break
        _summarise([each.label for each in runs], returns)
        return returns


def _summarise(labels: Sequence[str], returns: Sequence[JobReturn]) -> None:
    failed = [label for label, r in zip(labels, returns, strict=False) if r.return_value != 0]
    if failed:
        print(f"{len(failed)} of {len(labels)} runs failed or stopped; the same command runs them again:", flush=True)
        for label in failed:
            print(f"  {label}", flush=True)
