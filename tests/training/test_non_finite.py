"""Losses, gradients and weights that are not finite, in training on the small phantom cohort in this process."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from omegaconf import DictConfig
from scaffolding import assert_same_training, assert_same_weights, interrupted, last_weights

from brats_ablate.errors import RunFailed
from brats_ablate.jobs import train
from brats_ablate.launch.sweep import run_directory
from brats_ablate.training.trainer import Trainer

Composed = Callable[..., DictConfig]


def test_a_loss_that_is_not_finite_names_step_and_case_and_stays_on_record(
    composed: Composed, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = composed("+experiment=baseline", "trainer.epochs=1")
    original = Trainer.training_step

    def with_nan(self: Trainer, patches: list) -> None:
        if self.step == 2:
            with torch.no_grad():
                next(self.model.parameters()).fill_(float("nan"))
        original(self, patches)

    monkeypatch.setattr(Trainer, "training_step", with_nan)
    with pytest.raises(RunFailed, match=r"the loss is nan at step 2 on \S+"):
        train.run(cfg)
    status = run_directory(cfg).status()
    assert status.state == "failed"
    assert "the loss is nan at step 2" in str(status.reason)
    monkeypatch.undo()


def poison_after(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Make one weight undefined by the update of `step`, whose loss and gradient are finite."""
    original = Trainer.training_step

    def poisoned(self: Trainer, patches: list) -> None:
        original(self, patches)
        if self.step == step:
            with torch.no_grad():
                list(self.model.parameters())[-1][0] = float("nan")

    monkeypatch.setattr(Trainer, "training_step", poisoned)


@pytest.mark.slow
def test_weights_that_the_last_update_of_an_epoch_made_infinite_are_not_kept(
    composed: Composed, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = composed("+experiment=baseline", "trainer.checkpoint_minutes=0.0001")
    undisturbed = composed("+experiment=baseline", "paths.runs=${paths.work}/other_runs")
    train.run(undisturbed)
    with monkeypatch.context() as patch:
        poison_after(patch, 7)
        with pytest.raises(RunFailed, match=r"^the weight heads\.0\.bias is not finite after step 7 on \S+; "):
            train.run(cfg)
    directory = run_directory(cfg)
    saved = last_weights(directory)
    assert all(tensor.isfinite().all() for tensor in saved.values())
    assert [row["epoch"] for row in directory.metrics()] == [1]
    train.run(cfg)
    assert_same_weights(run_directory(undisturbed), directory)


@pytest.mark.slow
def test_the_remedy_of_a_run_that_failed_is_accepted(composed: Composed, monkeypatch: pytest.MonkeyPatch) -> None:
    line = ("+experiment=baseline", "trainer.precision=bf16", "trainer.epochs=1")
    with monkeypatch.context() as patch:
        poison_after(patch, 0)
        with pytest.raises(RunFailed) as failed:
            train.run(composed(*line))
    remedy = str(failed.value).rsplit(" or with ", 1)[1].split()
    assert remedy == ["trainer.precision=fp32", "name=baseline_fp32"]
    cfg = composed(*line, *remedy)
    train.run(cfg)
    assert run_directory(cfg).is_finished()


def test_a_gradient_that_is_not_finite_ends_the_run_at_its_step(
    composed: Composed, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = composed("+experiment=baseline", "trainer.epochs=1")
    undo = []

    def overflow(self: Trainer) -> None:
        undo.append(next(self.model.parameters()).register_hook(lambda grad: grad * float("inf")))

    original = Trainer.training_step

    def disturbed(self: Trainer, patches: list) -> None:
        if self.step == 2:
            overflow(self)
        original(self, patches)

    monkeypatch.setattr(Trainer, "training_step", disturbed)
    with pytest.raises(RunFailed, match=r"^the gradient's norm is (nan|inf) at step 2 on \S+; run the same"):
        train.run(cfg)
    undo.pop().remove()


@pytest.mark.slow
def test_fp16_skips_a_step_whose_gradient_overflows(composed: Composed, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = composed("+experiment=baseline", "trainer.epochs=1", "trainer.precision=fp16")
    original, before = Trainer.training_step, {}

    def disturbed(self: Trainer, patches: list) -> None:
        if self.step != 2:
            original(self, patches)
            return
        before.update({name: tensor.clone() for name, tensor in self.model.state_dict().items()})
        hook = next(self.model.parameters()).register_hook(lambda grad: grad * float("inf"))
        original(self, patches)
        hook.remove()
        assert all(torch.equal(tensor, before[name]) for name, tensor in self.model.state_dict().items())

    monkeypatch.setattr(Trainer, "training_step", disturbed)
    train.run(cfg)
    assert before
    (row,) = run_directory(cfg).metrics()
    assert row["skipped_steps"] == 1
    assert 0 < row["grad_norm"] < float("inf")


@pytest.mark.slow
def test_a_checkpoint_with_weights_that_are_not_finite_is_refused(composed: Composed) -> None:
    cfg = composed("+experiment=baseline")
    file = interrupted(cfg, 2).last_checkpoint
    saved = torch.load(file, weights_only=True)
    saved["model"]["heads.0.bias"][1] = float("inf")
    torch.save(saved, file)
    with pytest.raises(
        RunFailed, match=r"last\.pt: heads\.0\.bias is not finite; delete the file to start the run again"
    ):
        train.run(cfg)


@pytest.mark.slow
def test_a_run_continues_from_its_checkpoint_whatever_was_recorded_after_it(
    composed: Composed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = composed("+experiment=baseline", "trainer.epochs=4", "validation.every=1")
    undisturbed = composed(
        "+experiment=baseline", "trainer.epochs=4", "validation.every=1", "paths.runs=${paths.work}/other_runs"
    )
    train.run(undisturbed)
    directory = interrupted(cfg, step=9)
    saved = directory.status()
    assert saved.epoch == 1
    with monkeypatch.context() as patch:
        poison_after(patch, 13)
        with pytest.raises(RunFailed):
            train.run(cfg)
    assert [row["epoch"] for row in directory.metrics()] == [1, 2, 3]
    capsys.readouterr()
    train.run(cfg)
    assert "continues after epoch 1, " in capsys.readouterr().out
    assert_same_training(run_directory(undisturbed), directory)
    best = [run.best_checkpoints() for run in (directory, run_directory(undisturbed))]
    assert [file.name for file in best[0]] == [file.name for file in best[1]]


@pytest.mark.slow
def test_a_run_that_was_lost_before_its_first_checkpoint_says_that_it_starts_again(
    composed: Composed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = composed("+experiment=baseline")
    with monkeypatch.context() as patch:
        poison_after(patch, 7)
        with pytest.raises(RunFailed):
            train.run(cfg)
    assert "starts again" not in capsys.readouterr().out
    assert [row["epoch"] for row in run_directory(cfg).metrics()] == [1]
    train.run(cfg)
    said = "starts again: it has no checkpoint to continue from; one is written every 10 minutes"
    assert said in capsys.readouterr().out
