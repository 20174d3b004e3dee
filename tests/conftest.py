"""What several test folders need: a small prepared phantom cohort, and the commands a user types."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from brats_ablate.config.locations import resource_dir

if "PYTEST_XDIST_WORKER" in os.environ:
    # Test processes share the cores: more torch threads than one each would only wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Small enough for seconds on two cores; 4 levels, so that deep supervision has its three heads.
SMALL = [
    "data=phantom",
    "data.phantom.cases=6",
    "data.phantom.shape=[32,32,24]",
    "data.n_folds=3",
    "trainer=cpu",
    "trainer.epochs=2",
    "trainer.crops_per_case=1",
    "trainer.validate_every=1",
    "trainer.precision=fp32",
    "trainer.loader_threads=1",
    "patches.shape=[16,16,16]",
    "encoder.channels=[8,8,16,16]",
    "encoder.width=1.0",
]

Command = Callable[..., subprocess.CompletedProcess[str]]


def start(*arguments: str, work: Path, **environment: str) -> subprocess.Popen[str]:
    """`python -m brats_ablate ARGUMENTS` as a process of its own, its output in one stream."""
    variables = os.environ | {"BRATS_ABLATE_WORK": str(work), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(
        [sys.executable, "-m", "brats_ablate", *arguments],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="session")
def small() -> tuple[str, ...]:
    """The overrides that make everything small, for tests that start their own processes."""
    return tuple(SMALL)


@pytest.fixture(scope="session")
def phantom_work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with the small phantom cohort, prepared. Tests must not write into it."""
    work = tmp_path_factory.mktemp("phantom_work")
    process = start(*SMALL, "job=prepare", work=work)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return work


@pytest.fixture
def work(phantom_work: Path, tmp_path: Path) -> Path:
    """A work folder of the test's own, on the prepared phantom cohort."""
    (tmp_path / "phantom").mkdir()
    for name in ("prepared", "raw"):
        (tmp_path / "phantom" / name).symlink_to(phantom_work / "phantom" / name)
    return tmp_path


@pytest.fixture
def launch(work: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts the command line on the small cohort and does not wait: `launch("+experiment=ds", "fold=0")`."""
    return lambda *arguments, **environment: start(*SMALL, *arguments, work=work, **environment)


@pytest.fixture
def brats_ablate(launch: Callable[..., subprocess.Popen[str]]) -> Command:
    """The same, waiting for the end: `.returncode` and `.stdout` (both streams)."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = launch(*arguments, **environment)
        output, _ = process.communicate(timeout=600)
        return subprocess.CompletedProcess(arguments, process.returncode, output)

    return run


@pytest.fixture
def composed(work: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., DictConfig]:
    """Composes the configuration of the small cohort in this process: `composed("+experiment=ds", "fold=0")`."""
    from brats_ablate.config.locations import resource_dir

    monkeypatch.setenv("BRATS_ABLATE_WORK", str(work))

    def make(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(resource_dir("conf")), version_base="1.3"):
            return compose("config", overrides=[*SMALL, *overrides])

    return make


@pytest.fixture
def composition() -> Callable[..., DictConfig]:
    """`composition("+experiment=ds", "fold=1")`."""

    def make(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(resource_dir("conf")), version_base="1.3"):
            return compose("config", list(overrides))

    return make
