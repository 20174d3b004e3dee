from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from brats_ablate.errors import ConfigError
from brats_ablate.training.precision import Precision

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def test_fp32_is_fp32_and_tf32_has_a_name_of_its_own() -> None:
    """torch's own default is TF32 in convolutions."""
    torch.backends.cudnn.allow_tf32 = True
    for name, allowed in (("fp32", False), ("tf32", True), ("bf16", False)):
        Precision(name, CPU).allow_tf32()
        assert torch.backends.cudnn.allow_tf32 is torch.backends.cuda.matmul.allow_tf32 is allowed


@pytest.mark.parametrize(
    ("name", "dtype"), [("fp32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_the_network_computes_in_this_type(name: str, dtype: torch.dtype) -> None:
    with Precision(name, CPU).autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_tf32_without_such_a_gpu_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^trainer\.precision=tf32 needs an NVIDIA GPU .* set fp32 or auto$"):
        Precision.resolve("tf32", CPU)


def test_only_fp16_scales_the_loss() -> None:
    assert [n for n in ("fp32", "tf32", "bf16", "fp16") if Precision(n, CPU).scaler().is_enabled()] == ["fp16"]
