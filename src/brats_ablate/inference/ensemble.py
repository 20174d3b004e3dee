"""Ensembles: which checkpoints of which runs take part, and the mean of their probabilities (paper section 2.5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brats_ablate.errors import ConfigError, RunFailed
from brats_ablate.runs.directory import RunDirectory, find_runs
from brats_ablate.runs.identity import differences, identity
from brats_ablate.runs.state import RunState

if TYPE_CHECKING:
    from torch import Tensor

    from brats_ablate.inference.tta import Predict


_USABLE = (RunState.FINISHED, RunState.IMPORTED)


@dataclass(frozen=True)
class EnsembleMember:
    """One checkpoint of one run, not loaded yet."""

    run: RunDirectory
    checkpoint: Path

    @property
    def fold(self) -> int:
        """The fold that the member did not train on."""
        return self.run.coordinates.fold

    @property
    def place(self) -> tuple[int, str, str]:
        """The place among members: sums of their outputs are rounded, so they are always added in one order."""
        return self.fold, str(self.run.path), self.checkpoint.name

    def __str__(self) -> str:
        return f"{self.run.coordinates} {self.checkpoint.name}"


def choose_members(
    runs: Path, names: Sequence[str], *, lr: float | str, seed: int, checkpoints: int, key: str = "job.runs"
) -> list[EnsembleMember]:
    """Return the best checkpoints of the finished runs of `names`, by fold.

    Args:
        runs: the folder of all runs.
        names: experiments (folders below `runs`, or paths of such folders), or paths of single run directories.
        lr: a learning rate, or "best": in each fold the one with the highest mean Dice, as in the paper.
        seed: of experiments' runs.
        checkpoints: at most this many of each run, best first; the paper's ensemble has 2.
        key: what gave the names, for messages.

    Raises:
        ConfigError: a name is not an experiment, or has no finished run with this learning rate and seed.
        RunFailed: a run has no checkpoint left.
    """
    all_runs = find_runs(runs)
    members = []
    for name in names:
        named = [run for run in all_runs if run.coordinates.name == name]
        is_run = (Path(name) / "config.yaml").is_file()
        if not is_run and not named and any(Path(name).glob("fold=*/lr=*/seed=*/config.yaml")):
            folder = Path(name).resolve()
            named = [run for run in find_runs(folder.parent) if run.coordinates.name == folder.name]
        chosen = [RunDirectory(Path(name).resolve())] if is_run else _best_run_of_each_fold(named, lr, seed)
        if not chosen:
            known = sorted({run.coordinates.name for run in all_runs})
            raise ConfigError(
                f"{key}: {name} has no finished run with lr={lr} and seed={seed} in {runs}; train it first"
                + (f", or choose from {', '.join(known)}" if name not in known and known else "")
            )
        for run in chosen:
            files = run.best_checkpoints()[:checkpoints]
            if not files:
                raise RunFailed(
                    f"{run.path} contains no best_*.pt any more; put it back, or delete the run and train it again"
                )
            members += [EnsembleMember(run, file) for file in files]
    return sorted(members, key=lambda member: member.place)


def check_checkpoint(member: EnsembleMember, of_checkpoint: dict[str, Any]) -> None:
    """Raise RunFailed if `of_checkpoint`, the identity stored there, differs from that of the run directory."""
    recorded = member.run.identity() or {}
    if "trainer.ranks" in recorded:  # checkpoints of earlier versions do not contain it
        of_checkpoint = {"trainer.ranks": recorded["trainer.ranks"], **of_checkpoint}
    if recorded != of_checkpoint:
        details = "; ".join(differences(recorded, of_checkpoint)[:5])
        raise RunFailed(
            f"{member.checkpoint} has a different configuration from its run directory ({details}); put the run's own "
            "checkpoint back, or train it again"
        )


def check_configuration(run: RunDirectory) -> None:
    """Raise RunFailed if a run's config.yaml is not the configuration that its manifest identifies."""
    for file in (run.path / "config.yaml", run.path / "manifest.json"):
        if not file.exists():
            raise RunFailed(f"{file} does not exist; put it back, or train the run again")
    recorded, present = run.identity() or {}, identity(run.config())
    if ranks := recorded.get("trainer.ranks"):  # recorded beside the identity by version 0.1
        present = {"trainer.ranks": ranks, **present}
    if recorded != present:
        details = "; ".join(differences(recorded, present)[:5])
        raise RunFailed(
            f"{run.path / 'config.yaml'} was changed after the run was trained ({details}); put the original back, or "
            "train the run again"
        )


def ensemble_mean(
    members: Sequence[tuple[Predict, Tensor]], probabilities: Callable[[Predict, Tensor], Tensor]
) -> Tensor:
    """Return the mean over members of `probabilities(predict, volume)`, (1, 3, X, Y, Z) float32.

    Networks are averaged as probabilities, in the text and in the released notebook.

    A member is a predictor and its input volume (1, C, X, Y, Z); channels may differ. Without members: ValueError.
    """
    import torch

    if not members:
        raise ValueError("an ensemble needs at least one member")
    with torch.inference_mode():
        total = torch.zeros((), device=members[0][1].device)
        for predict, volume in members:
            total = total + probabilities(predict, volume)
        return total / len(members)


def _best_run_of_each_fold(runs: list[RunDirectory], lr: float | str, seed: int) -> list[RunDirectory]:
    best: dict[int, tuple[float, RunDirectory]] = {}
    for run in runs:
        status, where = run.status(), run.coordinates
        if where.seed != seed or lr not in ("best", where.lr) or status is None or status.state not in _USABLE:
            continue
        dice = status.best if status.best is not None else -1.0
        if where.fold not in best or dice > best[where.fold][0]:
            best[where.fold] = (dice, run)
    return [run for _, (_, run) in sorted(best.items())]
