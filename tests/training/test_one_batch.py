"""`trainer.repeat_first_batch`: the batch, the verdict, and that no table takes such a run for a result."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from brats_ablate.config.check import resolve
from brats_ablate.data.store import CaseStore
from brats_ablate.errors import ConfigError, RunFailed
from brats_ablate.jobs import train
from brats_ablate.launch.sweep import as_sweep_run, run_directory
from brats_ablate.losses.total_loss import TotalLoss
from brats_ablate.models.unet import UNet
from brats_ablate.runs.directory import find_runs
from brats_ablate.runs.identity import identity
from brats_ablate.runs.state import RunState
from brats_ablate.training import one_batch
from brats_ablate.training.one_batch import RepeatedBatch, has_learned, validation_on, verdict, weights_without_gradient
from brats_ablate.training.settings import TrainerSettings

Composed = Callable[..., DictConfig]
DEBUG = ("trainer.repeat_first_batch=true", "trainer.detect_anomaly=true", "augment=none", "validation.every=2")


def test_every_step_is_the_first_batch_of_the_first_epoch() -> None:
    def epoch(number: int, start_step: int = 0) -> Any:
        yield from ([f"{number}-{step}"] for step in range(start_step, 3))

    loader = RepeatedBatch.first_of(SimpleNamespace(steps_per_epoch=3, epoch=epoch))
    assert list(loader.epoch(0)) == [["0-0"]] * 10
    assert list(loader.epoch(4, start_step=8)) == [["0-0"]] * 2


def test_the_patches_are_validated_in_place_of_volumes() -> None:
    batch: Any = [SimpleNamespace(case_id="a"), SimpleNamespace(case_id="b")]
    images, labels = torch.rand(2, 4, 2, 2, 2), torch.randint(0, 4, (2, 2, 2, 2))
    scheme: Any = SimpleNamespace(to_regions=lambda labels: torch.stack([labels > 0, labels > 1], 1))
    validation = validation_on(batch, _validation(scheme), lambda patches: (images, labels))  # type: ignore[arg-type]
    assert validation.case_ids == ["a", "b"]
    volume, regions = validation.load("b")
    assert torch.equal(volume, images[1:])
    assert torch.equal(regions, torch.stack([labels[1] > 0, labels[1] > 1]))


def _validation(scheme: Any) -> Any:
    from brats_ablate.training.validation import Validation

    unused: Any = None
    return Validation(["c"], scheme, unused, unused, unused, unused)


def rows(*losses: float) -> list[dict[str, float]]:
    return [{"epoch": i, "loss": loss} for i, loss in enumerate(losses, start=1)]


@pytest.mark.parametrize(
    ("losses", "fell"),
    [((1.0, 0.9, 0.5), True), ((1.0, 0.5, 0.75), False), ((1.0, 1.0), False), ((-0.2, -0.9), True), ((1.0,), False)],
)
def test_a_loss_has_fallen_if_it_lost_a_third_and_stays_there(losses: tuple[float, ...], fell: bool) -> None:
    assert has_learned(rows(*losses)) == fell


def test_the_verdict_says_where_to_look() -> None:
    model = nn.ModuleDict({"body": nn.Linear(1, 1), "head": nn.Linear(1, 1)})
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    assert verdict([*rows(1.0), {"loss": 0.1, "dice": 0.95}], model) == (
        "the loss on one batch fell from 1.0000 in the first epoch to 0.1000 in the last; Dice on this batch 0.950"
    )
    assert "try ten times lr" in verdict(rows(1.0, 0.9), model)
    assert "try a tenth of lr" in verdict(rows(1.0, 1.1), model)
    model["body"].weight.grad = None
    model["body"].bias.grad = torch.zeros(1)
    assert weights_without_gradient(model) == ["body.weight", "body.bias"]
    assert "no gradient reaches 2 of 4 weights (body.weight, body.bias); look for detach()" in verdict(
        rows(1, 1), model
    )
    assert verdict(rows(1, 0.1), model).endswith(
        "but no gradient reaches 2 of 4 weights (body.weight, body.bias): does the loss use them?"
    )
    model["body"].requires_grad_(False)
    assert weights_without_gradient(model) == []


@pytest.mark.slow
def test_a_run_overfits_apart_from_all_results_and_starts_anew(
    composed: Composed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = composed("+experiment=baseline", *DEBUG, "lr=0.02", "schedule.warmup_steps=1")
    directory = run_directory(cfg)
    monkeypatch.setattr(one_batch, "STEPS_PER_EPOCH", 3)  # too few to fall by MIN_FALL
    with monkeypatch.context() as patch:
        patch.setattr(one_batch, "MIN_FALL", 0.01)
        train.run(cfg)
    assert "the loss on one batch fell from" in capsys.readouterr().out
    assert directory.is_finished()
    assert [row["step"] for row in directory.metrics()] == [3, 6]
    (case,) = directory.cases()
    assert case["case"] in CaseStore(Path(str(cfg.paths.prepared))).case_ids

    assert directory.path.is_relative_to(Path(str(cfg.paths.debug)))
    assert not find_runs(Path(str(cfg.paths.runs)))
    assert as_sweep_run(cfg, "label").run is None
    assert identity(resolve(cfg))["trainer.repeat_first_batch"] is True
    assert "trainer.repeat_first_batch" not in identity(resolve(composed("+experiment=baseline")))

    directory.write_manifest(directory.manifest() | {"identity": {"loss": "another"}})
    with pytest.raises(RunFailed, match="the loss on one batch did not fall: from"):  # not skipped, not refused
        train.run(cfg)
    status = directory.status()
    assert status.state == RunState.FAILED
    with directory.lock(), pytest.raises(RunFailed, match="is being trained by process"):
        train.run(cfg)


def detached_features(monkeypatch: pytest.MonkeyPatch) -> None:
    real = UNet.forward

    def forward(self: UNet, x: Tensor) -> object:
        output = real(self, x)
        return output._replace(logits=[logits.detach() for logits in output.logits])

    monkeypatch.setattr(UNet, "forward", forward)


def nan_in_a_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    real = nn.Conv3d.forward
    monkeypatch.setattr(nn.Conv3d, "forward", lambda self, x: real(self, x) * torch.nan)


def nan_in_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    real = TotalLoss.__call__

    def forward(self: TotalLoss, *arguments: Any) -> object:
        loss, terms = real(self, *arguments)
        return loss - (loss - loss.detach()).sqrt() * 0, terms

    monkeypatch.setattr(TotalLoss, "__call__", forward)


@pytest.mark.filterwarnings("ignore:Error detected:UserWarning")
@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (detached_features, "the loss depends on no weight"),
        (nan_in_the_loss, "the gradient of SqrtBackward0 is NaN"),
        (nan_in_a_layer, r"Conv3d) makes values that are not finite"),
    ],
)
def test_a_broken_network_ends_in_a_sentence(
    composed: Composed, monkeypatch: pytest.MonkeyPatch, fault: Callable[[pytest.MonkeyPatch], None], sentence: str
) -> None:
    cfg = composed("+experiment=baseline", *DEBUG)
    fault(monkeypatch)
    with pytest.raises(RunFailed, match=re.escape(sentence)):
        train.run(cfg)
    status = run_directory(cfg).status()
    assert sentence in str(status.reason)


def test_ranks_are_refused() -> None:
    with pytest.raises(ConfigError, match="trains in one process"):
        TrainerSettings(1, 1, 1, "fp32", 1, ranks=2, devices=2, repeat_first_batch=True)
