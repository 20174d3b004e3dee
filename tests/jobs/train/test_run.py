"""The order in which a training run starts and ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from brats_ablate.jobs import train
from brats_ablate.runtime.activity import Activity
from brats_ablate.tracking.base import NullTracker
from brats_ablate.training.trainer import Trainer


@pytest.mark.parametrize("error", [None, RuntimeError("a bug")])
def test_no_hang_is_looked_for_while_the_tracker_uploads(
    composed: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch, error: RuntimeError | None
) -> None:
    activities: list[Activity] = []
    ended: dict[str, bool] = {}
    new_activity = Activity.__init__

    def fit(trainer: Trainer) -> None:
        ended["training"] = activities[-1].ended.is_set()
        if error is not None:
            raise error

    monkeypatch.setattr(Activity, "__init__", lambda self: (new_activity(self), activities.append(self))[0])
    monkeypatch.setattr(Trainer, "fit", fit)
    monkeypatch.setattr(NullTracker, "finish", lambda self: ended.update(upload=activities[-1].ended.is_set()))
    try:
        train.run(composed("+experiment=baseline"))
    except RuntimeError as raised:
        assert raised is error  # noqa: PT017
    assert ended == {"training": False, "upload": True}
