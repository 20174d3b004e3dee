"""Fixtures for tests of all packages: a small prepared phantom cohort, compositions, the command line on both."""

from __future__ import annotations

import gc
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from composition import composed as compose_overrides
from omegaconf import DictConfig
from scaffolding import CommandLine, FakeStudy

from brats_ablate.jobs import prepare, resolvers
from brats_ablate.runtime.output import warn_once

if "PYTEST_XDIST_WORKER" in os.environ:
    # Test processes share the cores: more torch threads than one each would only wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Small enough for seconds on two cores; 4 levels, so that deep supervision has its three heads.
SMALL = (
    "data=phantom",
    "data.phantom.cases=6",
    "data.phantom.shape=[32,32,24]",
    "data.n_folds=3",
    "trainer=cpu",
    "trainer.epochs=2",
    "trainer.crops_per_case=1",
    "validation.every=1",
    "trainer.precision=fp32",
    "trainer.loader_threads=1",
    "patches.shape=[16,16,16]",
    "encoder.channels=[8,8,16,16]",
    "encoder.width=1.0",
)

resolvers.register()  # as the entry point does

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Search for no garbage while tests are collected, and afterwards not in what is there: a tenth of the time."""
    gc.disable()
    result = yield
    gc.freeze()
    gc.enable()
    return result


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the longest tests, and start them first, so that at the end no process waits for one that began last."""
    minutes = {item: max((m.kwargs.get("minutes", 0) for m in item.iter_markers("slow")), default=0) for item in items}
    items.sort(key=lambda item: minutes[item], reverse=True)
    for item in items:
        if minutes[item] >= 1:
            item.add_marker(pytest.mark.long)


def small_study(work: Path) -> CommandLine:
    """The command line on the small cohort, with its results in `work`."""
    return CommandLine(work, SMALL, {"BRATS_ABLATE_WORK": str(work)})


@pytest.fixture(scope="session")
def small() -> tuple[str, ...]:
    """The overrides that make everything small, for tests that start their own processes."""
    return SMALL


@pytest.fixture(scope="session")
def phantom_work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with the small phantom cohort, prepared. Tests must not write into it."""
    work = tmp_path_factory.mktemp("phantom_work")
    cfg = compose_overrides(*SMALL, "job=prepare", f"paths.work={work}/phantom")
    prepare.run(cfg, workers=1, require_segmentation=True, trust_convention=False)
    return work


@pytest.fixture
def work(phantom_work: Path, tmp_path: Path) -> Path:
    """A work folder of the test's own, on the prepared phantom cohort."""
    (tmp_path / "phantom").mkdir()
    for name in ("prepared", "raw"):
        (tmp_path / "phantom" / name).symlink_to(phantom_work / "phantom" / name)
    return tmp_path


@pytest.fixture(autouse=True)
def _warn_again() -> None:
    """Let each test see the warnings that a process prints once."""
    warn_once.cache_clear()


@pytest.fixture
def launch(work: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts the command line on the small cohort and does not wait: `launch("+experiment=ds", "fold=0")`."""
    return small_study(work).start


@pytest.fixture
def brats_ablate(work: Path) -> Command:
    """The same, waiting for the end: `.returncode` and `.stdout` (both streams)."""
    return small_study(work).run


@pytest.fixture
def fake_study(tmp_path: Path) -> FakeStudy:
    """Sweeps of a stand-in for training."""
    return FakeStudy(tmp_path)


@pytest.fixture
def composed(work: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., DictConfig]:
    """Composes the configuration of the small cohort in this process: `composed("+experiment=ds", "fold=0")`."""
    monkeypatch.setenv("BRATS_ABLATE_WORK", str(work))
    return lambda *overrides: compose_overrides(*SMALL, *overrides)


@pytest.fixture
def composition() -> Callable[..., DictConfig]:
    """`composition("+experiment=ds", "fold=1")`."""
    return compose_overrides
