"""What the machine of the tests computes in hardware."""

from __future__ import annotations

import pytest
import torch

from brats_ablate.training.precision import Precision

_HAS_BF16 = Precision.resolve("auto", torch.device("cpu")).name == "bf16"

needs_bf16 = pytest.mark.skipif(
    not _HAS_BF16, reason="this CPU has no bf16 instructions: torch convolves one value at a time"
)
needs_fast_cpu = pytest.mark.skipif(
    not _HAS_BF16, reason="takes four minutes or more on a CPU without bf16 instructions, which convolves slowly"
)
"""For the few tests that train most; all that they cover in parts has tests that run on any CPU."""
