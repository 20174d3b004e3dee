from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from brats_ablate.errors import ConfigError
from brats_ablate.jobs.build import build_model, build_optimizer

Composed = Callable[..., DictConfig]
UNFIT = ("LBFGS", "Muon", "SparseAdam")
"""They evaluate the loss themselves, take matrices, or take sparse gradients."""
OPTIMIZERS = [
    name
    for name, value in vars(torch.optim).items()
    if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
]


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name not in UNFIT])
def test_any_optimizer_of_torch_takes_a_step(composed: Composed, name: str) -> None:
    cfg = composed("+experiment=baseline")
    cfg.optimizer = OmegaConf.create({"_target_": f"torch.optim.{name}"})
    model = build_model(cfg)
    optimizer = build_optimizer(cfg, model)
    assert type(optimizer) is getattr(torch.optim, name)
    before = [p.detach().clone() for p in model.parameters()]
    model(torch.randn(1, 4, 16, 16, 16)).logits[0].square().mean().backward()
    optimizer.step()
    assert any(not torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


def test_one_that_evaluates_the_loss_itself_is_refused(composed: Composed) -> None:
    cfg = composed("+experiment=baseline")
    cfg.optimizer = OmegaConf.create({"_target_": "torch.optim.LBFGS"})
    with pytest.raises(ConfigError, match=r"^optimizer: LBFGS evaluates the loss several times a step; choose another"):
        build_optimizer(cfg, build_model(cfg))
