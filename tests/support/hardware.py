"""What the machine of the tests computes in hardware."""

from __future__ import annotations

import pytest
import torch

from brats_ablate.training.precision import Precision

needs_bf16 = pytest.mark.skipif(
    Precision.resolve("auto", torch.device("cpu")).name != "bf16",
    reason="this CPU has no bf16 instructions: torch convolves one value at a time",
)
