"""Trainer settings: the length of a run, its batches, its precision, and how it is executed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from brats_ablate.errors import ConfigError


@dataclass(frozen=True)
class TrainerSettings:
    """The `trainer` group. The second block changes how a run is executed, not its result."""

    epochs: int
    batch_size: int
    """Samples per step and rank."""
    crops_per_case: int
    """Crops of each training case in an epoch; the paper's epoch has one."""
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"]
    keep_best: int
    """Checkpoints kept for their mean validation Dice; the paper's ensemble uses two per fold."""
    ranks: int = 1
    """Processes that train the run together, whoever starts them; a step takes `ranks` × `batch_size` samples."""
    validate_untrained: bool = False
    """Validate once before the first step too, for comparison."""
    repeat_first_batch: bool = False
    """Overfit the first batch of the first epoch; part of the result. See `training.one_batch`."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 1
    """Processes that this command starts itself, one per device; not used under torchrun or SLURM's tasks."""
    loader_threads: int = 2
    checkpoint_minutes: float = 10.0
    """A killed run loses at most this much work, and at most one epoch."""
    hang_minutes: float = 30.0
    """A run that makes no progress for so long is ended."""
    compile: bool | Literal["auto"] = "auto"
    """Whether torch compiles the network; auto does so on a GPU."""
    keep_freed_memory: bool = True
    """Let glibc keep freed memory: fewer page faults, more resident memory."""
    progress: Literal["auto", "bar", "lines", "none"] = "auto"
    deterministic: bool = False
    """Use only operations that compute the same bits each time; see `training.determinism`."""
    profile: bool = False
    """Write a trace and the longest operations of a few steps; see `training.profiling`."""
    detect_anomaly: bool = False
    """Name the operation that makes the first NaN, without compilation; see `training.anomaly`."""

    def compiles_on(self, device_type: str) -> bool:
        """Return whether the network is compiled on a device of this type."""
        if self.detect_anomaly:  # a layer is named only where it is called
            return False
        return device_type == "cuda" if self.compile == "auto" else self.compile

    def __post_init__(self) -> None:
        sizes = ("epochs", "batch_size", "crops_per_case", "keep_best", "ranks", "devices", "loader_threads")
        for name in sizes:
            if getattr(self, name) < 1:
                raise ConfigError(f"trainer.{name}={getattr(self, name)} must be at least 1")
        for name in ("checkpoint_minutes", "hang_minutes"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"trainer.{name}={getattr(self, name)} must be positive")
        if self.repeat_first_batch and self.ranks > 1:
            raise ConfigError("trainer.repeat_first_batch=true trains in one process; set trainer.ranks=1")
