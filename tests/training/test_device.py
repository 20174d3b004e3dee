from __future__ import annotations

from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from brats_ablate.errors import ConfigError
from brats_ablate.jobs.train import spawn
from brats_ablate.training.device import choose_device, require_gpus

CPU = torch.device("cpu")


class Machine:
    """A machine with `gpus`, as torch reports it; without any, `cuda_init` raises `error`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.patch, self.current = monkeypatch, CPU
        for variable in ("CUDA_VISIBLE_DEVICES", "LOCAL_WORLD_SIZE", "SLURM_GPUS_PER_TASK", "SLURM_TRES_PER_TASK"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setattr(torch.version, "cuda", "13.0")
        monkeypatch.setattr(torch.cuda, "set_device", lambda device: setattr(self, "current", device))

    def __call__(self, gpus: int, error: str = "No CUDA GPUs are available", **environment: str) -> None:
        def init() -> None:
            raise RuntimeError(error)

        self.patch.setattr(torch.cuda, "device_count", lambda: gpus)
        self.patch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        self.patch.setattr(torch.cuda, "init", init)
        for name, value in environment.items():
            self.patch.setenv(name, value)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_each_rank_has_a_gpu_of_its_own_and_it_is_the_current_one(machine: Machine) -> None:
    machine(2, LOCAL_WORLD_SIZE="2")
    for name in ("cuda", "auto"):
        for rank in range(2):
            assert choose_device(name, rank) == torch.device("cuda", rank) == machine.current


def test_auto_is_the_cpu_where_there_is_no_gpu_and_cpu_always_is(machine: Machine) -> None:
    machine(0)
    assert choose_device("auto", 1) == CPU
    for hides_all in ("", "-1", "NoDevFiles"):
        machine(0, CUDA_VISIBLE_DEVICES=hides_all)
        assert choose_device("auto", 0) == CPU
    machine(2)
    assert choose_device("cpu", 5) == CPU == machine.current


@pytest.mark.parametrize("named", ["0", "1,2", "GPU-8f6", "MIG-1"])
def test_auto_is_not_the_cpu_where_a_gpu_is_named(machine: Machine, named: str) -> None:
    """The GPU of a job whose node has lost its driver would be the CPU, for weeks."""
    machine(0, NO_DRIVER, CUDA_VISIBLE_DEVICES=named)
    assert choose_device("cpu", 0) == CPU
    with pytest.raises(ConfigError, match=r"^trainer\.device=auto: Found no NVIDIA driver on your system; start on a"):
        choose_device("auto", 0)


NO_DRIVER = (
    "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver from\n"
    "http://www.nvidia.com/Download/index.aspx"
)
OLD_DRIVER = "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by …"


@pytest.mark.parametrize(
    ("error", "environment", "sentence"),
    [
        (
            NO_DRIVER,
            {"CUDA_VISIBLE_DEVICES": ""},
            "trainer.device=cuda: Found no NVIDIA driver on your system; start on a machine with a GPU and its driver, or set trainer.device=cpu",
        ),
        (
            OLD_DRIVER,
            {},
            "trainer.device=cuda: The NVIDIA driver on your system is too old (found version 11040); start on a machine with a GPU and its driver, or set trainer.device=cpu",
        ),
        (
            "No CUDA GPUs are available",
            {"CUDA_VISIBLE_DEVICES": ""},
            "trainer.device=cuda: CUDA_VISIBLE_DEVICES is empty, which hides every GPU; unset it (hydra/launcher=submitit_local empties it; local_gpus gives each run a GPU), or set trainer.device=cpu",
        ),
        (
            "No CUDA GPUs are available",
            {"CUDA_VISIBLE_DEVICES": "GPU-8f6"},
            "trainer.device=cuda: CUDA_VISIBLE_DEVICES=GPU-8f6 leaves no usable GPU; correct it, or set trainer.device=cpu",
        ),
        (
            "No CUDA GPUs are available",
            {},
            "trainer.device=cuda: No CUDA GPUs are available; start on a machine with a GPU and its driver, or set trainer.device=cpu",
        ),
    ],
)
def test_cuda_without_a_gpu_is_refused_with_the_reason(
    machine: Machine, error: str, environment: dict[str, str], sentence: str
) -> None:
    machine(0, error, **environment)
    with pytest.raises(ConfigError) as refused:
        choose_device("cuda", 0)
    assert str(refused.value) == sentence


@pytest.mark.parametrize("name", ["cuda", "auto"])
@pytest.mark.parametrize("environment", [{}, {"CUDA_VISIBLE_DEVICES": "0"}])
def test_gpus_that_this_torch_cannot_use_are_refused_with_the_reason(
    machine: Machine, name: str, environment: dict[str, str]
) -> None:
    """NVML counts the GPUs of a driver that is too old for this torch."""
    machine(1, OLD_DRIVER, **environment)
    machine.patch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("cpu", 0) == CPU
    with pytest.raises(ConfigError) as refused:
        choose_device(name, 0)
    assert str(refused.value) == (
        f"trainer.device={name}: The NVIDIA driver on your system is too old (found version 11040); update the driver, "
        "install a torch for it (pytorch.org), or set trainer.device=cpu"
    )


def test_a_torch_for_the_cpu_is_named(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(0)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch, "__version__", "2.13.0+cpu")
    with pytest.raises(
        ConfigError, match=r"^trainer\.device=cuda: torch 2\.13\.0\+cpu is a CPU build; install one for CUDA"
    ):
        choose_device("cuda", 0)


def test_a_numbered_gpu_is_taken_or_refused(machine: Machine) -> None:
    machine(2)
    assert choose_device("cuda:1", 0) == torch.device("cuda", 1) == machine.current
    with pytest.raises(ConfigError, match=r"^trainer\.device=cuda:2 is none of the visible GPUs, cuda:0, cuda:1; name"):
        choose_device("cuda:2", 0)
    machine(0)
    with pytest.raises(ConfigError, match=r"^trainer\.device=cuda:0: No CUDA GPUs are available; start on a machine"):
        choose_device("cuda:0", 0)


@pytest.mark.parametrize("name", ["cuda", "auto"])
def test_ranks_do_not_share_a_gpu(machine: Machine, name: str) -> None:
    machine(1, CUDA_VISIBLE_DEVICES="3")
    with pytest.raises(ConfigError) as refused:
        choose_device(name, 1)
    assert str(refused.value) == (
        "2 ranks on this machine, but 1 GPU is visible (CUDA_VISIBLE_DEVICES=3); give each rank a GPU (on SLURM "
        "hydra.launcher.gpus_per_node=2), lower trainer.ranks and trainer.devices, or set trainer.device=cpu"
    )
    machine(2, LOCAL_WORLD_SIZE="4")
    with pytest.raises(ConfigError, match=r"^4 ranks on this machine, but 2 GPUs are visible"):
        choose_device(name, 0)  # not only in ranks 2 and 3, which the others would wait for


@pytest.mark.parametrize("variable", ["SLURM_GPUS_PER_TASK=1", "SLURM_TRES_PER_TASK=cpu=4,gres/gpu=1"])
def test_a_task_that_slurm_gives_its_own_gpu_sees_no_other(machine: Machine, variable: str) -> None:
    name, _, value = variable.partition("=")
    machine(1, LOCAL_WORLD_SIZE="2", **{name: value})
    assert choose_device("cuda", 1) == torch.device("cuda", 0)
    machine(1, SLURM_TRES_PER_TASK="cpu=4", SLURM_GPUS_PER_TASK="1")
    machine.patch.delenv("SLURM_GPUS_PER_TASK")
    with pytest.raises(ConfigError, match="2 ranks"):
        choose_device("cuda", 1)


@pytest.mark.parametrize("name", ["cuda", "auto"])
@pytest.mark.parametrize("gpus", [0, 1])
def test_trainer_devices_starts_nothing_without_enough_gpus(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, gpus: int, name: str
) -> None:
    machine(gpus, CUDA_VISIBLE_DEVICES="0,1")
    monkeypatch.setattr(spawn.multiprocessing, "get_context", lambda _: pytest.fail("started"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("initializes CUDA"))
    cfg = OmegaConf.create({"trainer": {"device": name, "devices": 2}})
    directory: Any = None
    with pytest.raises(ConfigError, match="1 GPU is visible" if gpus else "=0,1 leaves no usable GPU; correct it, or"):
        spawn.start_ranks(cfg, directory)


def test_ranks_on_the_cpu_need_no_gpu(machine: Machine) -> None:
    machine(1)
    require_gpus("cpu", 4)
    machine(0)
    require_gpus("auto", 4)
