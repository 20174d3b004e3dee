"""Which processes start the ranks of a run."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from brats_ablate.jobs.train.spawn import must_start_ranks


@pytest.mark.parametrize(("world_size", "starts"), [(None, True), ("1", True), ("2", False)])
def test_only_a_process_that_is_no_rank_of_several_starts_ranks(
    composition: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch, world_size: str | None, starts: bool
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if world_size is not None:  # 1 by torchrun with one process, and in some containers
        monkeypatch.setenv("WORLD_SIZE", world_size)
        monkeypatch.setenv("RANK", "0")
    assert must_start_ranks(composition("trainer.ranks=2", "trainer.devices=2")) is starts
    assert not must_start_ranks(composition())
