"""What the trainer's settings decide."""

from __future__ import annotations

from typing import Any

import pytest

from brats_ablate.training.settings import TrainerSettings


@pytest.mark.parametrize(
    ("compiles", "on_cpu", "on_gpu"), [("auto", False, True), (True, True, True), (False, False, False)]
)
def test_only_a_gpu_compiles_unless_it_is_set(compiles: Any, on_cpu: bool, on_gpu: bool) -> None:
    settings = TrainerSettings(1, 1, 1, "fp32", 1, compile=compiles)
    assert (settings.compiles_on("cpu"), settings.compiles_on("cuda")) == (on_cpu, on_gpu)
    watched = TrainerSettings(1, 1, 1, "fp32", 1, compile=compiles, detect_anomaly=True)
    assert not watched.compiles_on("cuda")  # a layer is named only where it is called
