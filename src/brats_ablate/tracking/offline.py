"""What W&B wrote offline and has not uploaded; reading it needs no wandb."""

from __future__ import annotations

from pathlib import Path

LATEST = "wandb/latest-run"
"""W&B's link to a run's last start, which logs again what earlier ones logged."""


def is_offline(run: Path) -> bool:
    """Return whether the last start of a run was logged offline and is not uploaded yet."""
    start = (run / LATEST).resolve()
    return start.name.startswith("offline-run-") and start.is_dir() and not any(start.glob("*.wandb.synced"))
