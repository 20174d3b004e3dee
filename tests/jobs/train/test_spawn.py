"""Which processes start the ranks of a run, and what they pass on."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from brats_ablate.config.command import record_options
from brats_ablate.errors import ConfigError, RunFailed, UserError
from brats_ablate.jobs import execute
from brats_ablate.jobs.train import spawn
from brats_ablate.jobs.train.spawn import must_start_ranks, start_ranks
from brats_ablate.launch.sweep import run_directory


@pytest.mark.parametrize(("codes", "error"), [([2, 1], ConfigError), ([1, 1], RunFailed), ([-9, 1], RunFailed)])
def test_a_configuration_that_a_rank_refuses_is_refused_by_the_command(
    composition: Callable[..., DictConfig],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    codes: list[int],
    error: type[UserError],
) -> None:
    cfg = composition("trainer.ranks=2", "trainer.devices=2", "trainer.device=cpu", f"paths.work={tmp_path}")
    left = iter(codes)

    def process(**_: object) -> SimpleNamespace:
        return SimpleNamespace(start=lambda: None, is_alive=lambda: False, exitcode=next(left))

    monkeypatch.setattr(spawn.signals, "install_handlers", lambda: None)
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: SimpleNamespace(Process=process))
    with pytest.raises(error) as raised:
        start_ranks(cfg, run_directory(cfg))
    assert type(raised.value) is error


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


def test_a_rank_reads_the_options_as_typed_and_computes_on_its_share_of_the_cores(
    composition: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ranks: list[Any] = []

    def process(target: Callable[..., None], args: tuple[Any, ...]) -> SimpleNamespace:
        ranks.append(lambda: target(*args))
        return SimpleNamespace(start=lambda: None, is_alive=lambda: False, exitcode=0)

    cfg = composition(
        "trainer=cpu", "trainer.ranks=2", "trainer.devices=2", "trainer.device=cpu", f"paths.work={tmp_path}"
    )
    typed = ["init.checkpoint='runs/a/fold=${fold}'", "loss=focal"]
    record_options(cfg, typed)
    monkeypatch.setattr(spawn.signals, "install_handlers", lambda: None)
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: SimpleNamespace(Process=process))
    start_ranks(cfg, run_directory(cfg))
    assert len(ranks) == 2

    read: list[DictConfig] = []
    threads: list[int] = []
    monkeypatch.setattr(execute, "execute", lambda cfg: read.append(cfg) or 0)
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setattr(spawn, "available_cores", lambda: 6)
    monkeypatch.setattr(os, "environ", {})
    with pytest.raises(SystemExit):
        ranks[1]()
    assert list(read[0].about.options) == typed
    assert threads == [3]


@pytest.mark.parametrize(("codes", "error"), [([2, 2], ConfigError), ([0, 1], RunFailed), ([1, 2], RunFailed)])
def test_the_error_is_of_the_kind_of_the_rank_that_failed_first(
    monkeypatch: pytest.MonkeyPatch,
    composition: Callable[..., DictConfig],
    tmp_path: Path,
    codes: list[int],
    error: type[UserError],
) -> None:
    left = iter(codes)

    def process(target: Callable[..., None], args: tuple[Any, ...]) -> SimpleNamespace:
        return SimpleNamespace(start=lambda: None, is_alive=lambda: False, exitcode=next(left))

    cfg = composition("trainer.ranks=2", "trainer.devices=2", "trainer.device=cpu", f"paths.work={tmp_path}")
    monkeypatch.setattr(spawn.signals, "install_handlers", lambda: None)
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: SimpleNamespace(Process=process))
    with pytest.raises(error, match=r"the ranks ended with exit codes \[\d, \d\]; see their messages above") as raised:
        start_ranks(cfg, run_directory(cfg))
    assert type(raised.value) is error
