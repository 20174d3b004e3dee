import pytest
import torch

from brats_ablate.errors import ConfigError
from brats_ablate.training.schedule import PolynomialDecay, WarmupCosine


def test_equals_torchs_linear_and_cosine_schedulers() -> None:
    warmup, total = 10, 50
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    linear = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / warmup)
    for step in range(warmup):
        assert WarmupCosine(warmup).factor(step, total) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        linear.step()
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total - warmup)
    for step in range(warmup, total + 1):
        assert WarmupCosine(warmup).factor(step, total) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        cosine.step()


def test_a_run_shorter_than_its_warmup_still_anneals() -> None:
    factors = [WarmupCosine(1000).factor(step, 20) for step in range(21)]
    assert max(factors) == factors[10] == 1.0
    assert factors[20] == pytest.approx(0.0, abs=1e-12)


def test_a_negative_warmup_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"schedule\.warmup_steps=-1"):
        WarmupCosine(-1)


def test_polynomial_decay_equals_torchs_scheduler() -> None:
    total = 50
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    polynomial = torch.optim.lr_scheduler.PolynomialLR(optimizer, total, power=0.9)
    for step in range(total + 1):
        assert PolynomialDecay(0.9).factor(step, total) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        polynomial.step()


@pytest.mark.parametrize("exponent", [0, -1, float("inf")])
def test_an_exponent_that_does_not_decay_is_refused(exponent: float) -> None:
    with pytest.raises(ConfigError, match=r"schedule\.exponent="):
        PolynomialDecay(exponent)
