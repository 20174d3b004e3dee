from __future__ import annotations

from collections.abc import Callable

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from brats_ablate.errors import ConfigError
from brats_ablate.launch.devices import named_devices, visible_devices

FakeCommand = Callable[[str, str], None]

UUID, MIG, OLD_MIG = (
    "GPU-8f6c2a41-11aa-22bb-33cc-0123456789ab",
    "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f",
    "MIG-GPU-8f6c2a41/1/0",
)


@pytest.mark.parametrize(
    ("visible", "devices"),
    [
        ("2,5", ["2", "5"]),
        (" 0 , 1,", ["0", "1"]),
        ("", []),
        ("-1", []),
        ("0,-1,1", ["0"]),
        (f"{UUID},{MIG},{OLD_MIG}", [UUID, MIG, OLD_MIG]),
    ],
)
def test_visible_devices_follow_the_environment(
    monkeypatch: pytest.MonkeyPatch, visible: str, devices: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_devices() == devices


@pytest.mark.parametrize(
    ("listed", "devices"),
    [
        (f"GPU 0: NVIDIA A100-SXM4-40GB (UUID: {UUID})\nGPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-1)\n", ["0", "1"]),
        ("NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.\n", []),
        (
            f"GPU 0: A100 (UUID: GPU-0)\nGPU 1: A100 (UUID: {UUID})\n  MIG 3g.20gb     Device  0: (UUID: {MIG})\n"
            "  MIG 3g.20gb     Device  1: (UUID: MIG-2)\nGPU 2: A100 (UUID: GPU-2)\n",
            ["GPU-0", MIG, "MIG-2", "GPU-2"],
        ),
    ],
)
def test_the_gpus_of_the_machine(
    fake_command: FakeCommand, monkeypatch: pytest.MonkeyPatch, listed: str, devices: list[str]
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    fake_command("nvidia-smi", f"printf '%s' '{listed}'")
    assert visible_devices() == devices


def test_the_launchers_own_devices_may_be_numbers_and_uuids() -> None:
    override = OverridesParser.create().parse_override(f"hydra.launcher.devices=[0,{UUID},{OLD_MIG}]")
    assert named_devices(OmegaConf.create(override.value())) == ["0", UUID, OLD_MIG]


def test_what_names_no_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,NoDevFiles")
    with pytest.raises(ConfigError) as refused:
        visible_devices()
    assert str(refused.value) == (
        "CUDA_VISIBLE_DEVICES=0,NoDevFiles: NoDevFiles is not a GPU's number or UUID (GPU-…, MIG-…, see nvidia-smi -L); "
        "correct it, or set hydra.launcher.devices"
    )
    with pytest.raises(
        ConfigError, match=r"^hydra\.launcher\.devices=\[0,cuda:1\]: cuda:1 is not a GPU's .* correct it$"
    ):
        named_devices([0, "cuda:1"])
    for single in (1, UUID):
        with pytest.raises(ConfigError, match=rf"^hydra\.launcher\.devices={single} must be a list, .* \[{single}\]$"):
            named_devices(single)
