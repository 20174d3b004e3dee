"""The members of an ensemble: which checkpoints of which runs, and how each becomes a predictor again.

Part of `job=predict`. A network is rebuilt from its run's own recorded configuration, never from the command line, so
experiments of any architecture and size can be averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from brats_ablate.config.constraints import whole_volume_and_model
from brats_ablate.errors import ConfigError, RunFailed
from brats_ablate.runs.directory import FINISHED, RunDirectory, find_runs
from brats_ablate.runs.identity import differences

if TYPE_CHECKING:
    from torch import Tensor

    from brats_ablate.training.precision import Precision
    from brats_ablate.transforms.foreground import InputChannels


@dataclass(frozen=True)
class EnsembleMember:
    """One checkpoint of one run, not yet opened."""

    run: RunDirectory
    checkpoint: Path

    @property
    def fold(self) -> int:
        return self.run.coordinates.fold

    def __str__(self) -> str:
        return f"{self.run.coordinates} {self.checkpoint.name}"


@dataclass(frozen=True)
class Predictor:
    """An opened member: what it must be shown, and its window over a whole volume."""

    channels: InputChannels
    input_key: str
    """Members of the same key take the same input volume."""
    predict: Callable[[Tensor], Tensor]
    """(1, C, X, Y, Z) -> (1, 3, X, Y, Z) region probabilities."""


def choose_members(
    runs: Path, names: Sequence[str], *, lr: float | str, seed: int, checkpoints: int
) -> list[EnsembleMember]:
    """The best checkpoints of the finished runs of `names`, by fold.

    Args:
        runs: the folder of all runs.
        names: experiments (folders below `runs`), or paths of single run directories.
        lr: a learning rate, or "best": in each fold the one with the highest mean Dice, as the paper chose.
        seed: of experiments' runs.
        checkpoints: at most so many of each run, best first; the paper's ensemble has 2.

    Raises:
        ConfigError: a name that is no experiment, or has no finished run of this learning rate and seed.
        RunFailed: a run has no checkpoint left.
    """
    found = find_runs(runs)
    members = []
    for name in names:
        chosen = _single_run(name) or _best_of_each_fold([r for r in found if r.coordinates.name == name], lr, seed)
        if not chosen:
            known = sorted({r.coordinates.name for r in found})
            raise ConfigError(
                f"job.runs: {name} has no finished run with lr={lr} and seed={seed} in {runs}; train it first"
                + (f", or choose from {', '.join(known)}" if name not in known and known else "")
            )
        for run in chosen:
            files = run.best_checkpoints()[:checkpoints]
            if not files:
                raise RunFailed(f"{run.path} holds no checkpoint; delete its status.json and train it again")
            members += [EnsembleMember(run, file) for file in files]
    return sorted(members, key=lambda m: (m.fold, str(m.run.path), m.checkpoint.name))


def load_member(member: EnsembleMember, inference: DictConfig, precision: Precision) -> Predictor:
    """Rebuild the member's network, with the window of `inference`, on the precision's device.

    Raises:
        RunFailed: the checkpoint was written by a run of another configuration; names what differs.
        ConfigError: the network cannot work with this window.
    """
    from brats_ablate.jobs import build
    from brats_ablate.training import checkpoint

    refuse_foreign_checkpoint(member, checkpoint.load(member.checkpoint).get("identity", {}))
    cfg = OmegaConf.create(member.run.config())
    assert isinstance(cfg, DictConfig)
    cfg.inference = inference
    fault = whole_volume_and_model({"inference": dict(cfg.inference), "model": dict(cfg.model)})
    if fault is not None:
        raise ConfigError(fault)
    model = build.build_model(cfg)
    checkpoint.load_weights(member.checkpoint, model)
    build.execute_on(model, precision.device).eval()
    window, network = build.build_window(cfg, model), build.probabilities_network(model, precision)
    channels: InputChannels = build.instantiate(cfg.inputs)
    return Predictor(channels, str(cfg.inputs), lambda volume: window(network, volume))


def refuse_foreign_checkpoint(member: EnsembleMember, written_by: dict[str, Any]) -> None:
    """Raise RunFailed if the identity inside the checkpoint is not that of the run in whose directory it lies."""
    recorded = member.run.manifest().get("identity", {})
    if recorded != written_by:
        shown = "; ".join(differences(recorded, written_by)[:5])
        raise RunFailed(
            f"{member.checkpoint} is a checkpoint of another configuration than its directory's ({shown}); put the "
            "run's own checkpoint back, or train it again"
        )


def _single_run(name: str) -> list[RunDirectory]:
    path = Path(name)
    return [RunDirectory(path.resolve())] if (path / "config.yaml").is_file() else []


def _best_of_each_fold(runs: list[RunDirectory], lr: float | str, seed: int) -> list[RunDirectory]:
    best: dict[int, tuple[float, RunDirectory]] = {}
    for run in runs:
        status, where = run.status(), run.coordinates
        if status is None or status.state != FINISHED or where.seed != seed or (lr != "best" and where.lr != lr):
            continue
        dice = status.best if status.best is not None else -1.0
        if where.fold not in best or dice > best[where.fold][0]:
            best[where.fold] = (dice, run)
    return [run for _, (_, run) in sorted(best.items())]
