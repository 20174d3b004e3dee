"""The training loop on the small phantom cohort, in this process."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from scaffolding import assert_same_training, interrupted, last_weights, write_run

from brats_ablate.config.check import resolve
from brats_ablate.errors import ConfigError, RunFailed, Unreadable
from brats_ablate.jobs import train
from brats_ablate.launch.sweep import run_directory
from brats_ablate.runs.directory import RunRecord
from brats_ablate.runs.identity import identity
from brats_ablate.runs.state import RunState
from brats_ablate.runtime import signals
from brats_ablate.training.distributed import DistributedContext
from brats_ablate.training.trainer import SYNC_EVERY, Trainer
from brats_ablate.training.validation import Validation

Composed = Callable[..., DictConfig]


def test_a_run_leaves_its_record(composed: Composed) -> None:
    cfg = composed("+experiment=ds", "trainer.validate_untrained=true")
    train.run(cfg)
    directory = run_directory(cfg)
    status = directory.status()
    assert (status.state, status.epoch, status.epochs) == ("finished", 2, 2)
    rows = directory.metrics()
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert [row["step"] for row in rows] == [0, 4, 8]
    assert status.best == max(row["dice"] for row in rows[1:])
    for row in rows[1:]:
        assert row["loss"] == pytest.approx(sum(v for k, v in row.items() if k.startswith("loss/")))
        assert row["seconds"] == pytest.approx(sum(v for k, v in row.items() if k.startswith("seconds/")))
    for epoch in (0, 1, 2):
        cases = [c for c in directory.cases() if c["epoch"] == epoch]
        assert len(cases) == 2
        for region in ("WT", "TC", "ET"):
            assert sum(c[region] for c in cases) / 2 == pytest.approx(rows[epoch][f"dice/{region}"])
    assert len(directory.best_checkpoints()) == 2
    manifest = directory.manifest()
    assert manifest["experiment"] == "ds"
    assert manifest["parameters"] == sum(w.numel() for w in last_weights(directory).values())
    assert directory.config()["supervision"]["_target_"].endswith("DeepSupervision")


@pytest.mark.slow
def test_the_terms_of_the_vae_are_logged_apart(composed: Composed) -> None:
    cfg = composed("+experiment=segresnet_vae", "encoder.width=0.25", "trainer.epochs=1")
    train.run(cfg)
    (row,) = run_directory(cfg).metrics()
    terms = {k: v for k, v in row.items() if k.startswith("loss/")}
    assert set(terms) == {"loss/bce", "loss/dice", "loss/vae_reconstruction", "loss/vae_kl"}
    assert min(terms.values()) > 0
    assert row["loss"] == pytest.approx(sum(terms.values()))


def test_a_finished_run_is_skipped(
    composed: Composed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = composed("+experiment=baseline")
    write_run(run_directory(cfg), manifest={"identity": identity(resolve(cfg))})
    monkeypatch.setattr(Trainer, "fit", lambda self: pytest.fail("trained twice"))
    train.run(cfg)
    assert "already finished, skipping" in capsys.readouterr().out


@pytest.mark.slow
def test_another_configuration_under_the_same_identity_is_refused(composed: Composed) -> None:
    train.run(composed("+experiment=baseline"))
    with pytest.raises(ConfigError, match=r"optimizer\.weight_decay: 0\.0001 -> 0\.1"):
        train.run(composed("+experiment=baseline", "optimizer.weight_decay=0.1"))


RESUMED = {
    "ds_onehot": (),
    "dropblock": ("model.drop.ramp_steps=8",),  # over the whole run: a restarted schedule would drop less
    "segresnet_vae": ("encoder.width=0.25",),  # draws noise in every step
}


@pytest.mark.parametrize(
    ("experiment", "step"),  # in the first epoch, at its end, in the second
    [
        pytest.param(name, step, marks=() if (name, step) == ("ds_onehot", 2) else pytest.mark.slow)
        for name in RESUMED
        for step in (2, 4, 5)
    ],
)
def test_interrupted_and_resumed_equals_uninterrupted(composed: Composed, experiment: str, step: int) -> None:
    line = (f"+experiment={experiment}", "lr=0.01", *RESUMED[experiment])
    cfg = composed(*line)
    train.run(cfg)
    straight = run_directory(cfg)
    cfg = composed(*line, "paths.runs=${paths.work}/other_runs")
    resumed = interrupted(cfg, step)
    state = resumed.status()
    assert state.state == "interrupted"
    train.run(cfg)
    assert_same_training(straight, resumed)
    assert [p.name for p in straight.best_checkpoints()] == [p.name for p in resumed.best_checkpoints()]


def test_a_single_process_stops_at_the_next_step_however_seldom_it_reads_the_loss(
    composed: Composed, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = composed("+experiment=baseline")
    step, taken = Trainer.training_step, list[int]()

    def counted(trainer: Trainer, patches: Any) -> None:
        taken.append(trainer.step)
        step(trainer, patches)

    monkeypatch.setitem(SYNC_EVERY, "cpu", 50)  # as on a GPU
    monkeypatch.setattr(Trainer, "training_step", counted)
    monkeypatch.setattr(signals, "stop_requested", lambda: len(taken) >= 2)
    with pytest.raises(signals.Interrupted):
        train.run(cfg)
    assert taken == [0, 1]
    assert torch.load(run_directory(cfg).last_checkpoint, weights_only=True)["position"]["step_in_epoch"] == 2


@pytest.mark.slow
def test_a_stop_during_validation_repeats_the_validation(composed: Composed, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = composed("+experiment=baseline")
    with monkeypatch.context() as patch:
        calls = iter(range(10_000))
        patch.setattr(signals, "stop_requested", lambda: next(calls) == 5)  # 4 steps, the flush at the end, then a case
        with pytest.raises(signals.Interrupted):
            train.run(cfg)
    directory = run_directory(cfg)
    assert directory.metrics() == []
    train.run(cfg)
    assert [row["epoch"] for row in directory.metrics()] == [1, 2]


def test_the_ranks_share_their_statistics_before_they_are_validated_or_saved(
    composed: Composed, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for owner, name in (
        (DistributedContext, "broadcast_buffers"),
        (Trainer, "_check_weights"),
        (Validation, "run"),
        (Trainer, "_save"),
    ):
        method = getattr(owner, name)
        monkeypatch.setattr(owner, name, _recorded(calls, name, method))
    train.run(composed("+experiment=baseline", "trainer.epochs=1"))
    assert calls == ["broadcast_buffers", "_check_weights", "run", "_save", "_check_weights"]


@pytest.mark.parametrize("method", ["_resume", "_end_epoch"])
def test_the_reason_of_another_rank_is_not_written_over(
    composed: Composed, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    reasons: list[str | None] = []
    original, train_epoch = getattr(Trainer, method), Trainer._train_epoch

    def fails_elsewhere(trainer: Trainer, *arguments: Any) -> None:
        if method == "_end_epoch":
            original(trainer, *arguments)
        trainer.run.write_status(RunRecord(RunState.FAILED, reason="rank 1: a bug"))
        if method == "_resume":
            original(trainer)

    def read_status(trainer: Trainer) -> None:
        trainer._writer.wait()
        status = trainer.run.status()
        reasons.append(status.reason)
        train_epoch(trainer)

    monkeypatch.setattr(Trainer, method, fails_elsewhere)
    monkeypatch.setattr(Trainer, "_train_epoch", read_status)
    train.run(composed("+experiment=baseline"))
    assert reasons[-1] == "rank 1: a bug"


def _recorded(calls: list[str], name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def recorded(*args: Any) -> Any:
        calls.append(name)
        return method(*args)

    return recorded


@pytest.mark.slow
def test_a_run_is_not_continued_in_another_precision(composed: Composed) -> None:
    """`precision=auto` is part of the identity, not what a device made of it."""
    cfg = composed("+experiment=baseline", "trainer.precision=auto")
    directory = interrupted(cfg, 2)
    used = directory.manifest()["precision"]
    directory.write_manifest(directory.manifest() | {"precision": "fp16"})
    with pytest.raises(RunFailed, match=rf"was started in fp16 and would be a different run in {used}"):
        train.run(cfg)
    directory.write_manifest(directory.manifest() | {"precision": used})
    train.run(cfg)
    assert directory.is_finished()


def test_other_numbers_of_processes_than_declared_are_refused(
    composed: Composed, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.ranks=2, but trainer\.devices=1 starts 1 process;"):
        train.run(composed("+experiment=baseline", "trainer.ranks=2"))
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ConfigError, match=r"trainer\.ranks=2, but WORLD_SIZE=4 starts 4 processes;"):
        train.run(composed("+experiment=baseline", "trainer.ranks=2"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [("optimizer=sgd", "schedule=poly"), ("optimizer=adamw",), ("optimizer._target_=torch.optim.RAdam",)],
)
def test_trains_and_resumes_with_other_optimizers(composed: Composed, options: tuple[str, ...]) -> None:
    straight, cfg = (composed("+experiment=baseline", *options, f"paths.runs=${{paths.work}}/{n}") for n in "ab")
    train.run(straight)
    resumed = interrupted(cfg, 5)
    train.run(cfg)
    assert_same_training(run_directory(straight), resumed)


@pytest.mark.slow
def test_a_checkpoint_of_another_configuration_is_not_continued(composed: Composed) -> None:
    """As one lies there that a process wrote whose run directory was deleted and started again."""
    cfg = composed("+experiment=baseline")
    directory = interrupted(cfg, 2)
    saved = torch.load(directory.last_checkpoint, weights_only=True)
    saved["identity"]["optimizer.weight_decay"] = 0.5
    torch.save(saved, directory.last_checkpoint)
    with pytest.raises(
        RunFailed, match=r"last\.pt is the state of a different configuration \(optimizer\.weight_decay"
    ):
        train.run(cfg)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["metrics.jsonl", "cases.jsonl"])
def test_a_run_that_lost_its_records_is_not_continued(composed: Composed, name: str) -> None:
    cfg = composed("+experiment=baseline")
    train.run(cfg)
    directory = run_directory(cfg)
    directory.write_status(replace(directory.status(), state=RunState.INTERRUPTED))
    (directory.path / name).unlink()
    with pytest.raises(Unreadable, match=rf"{name} is damaged.*it lacks"):
        train.run(cfg)


@pytest.mark.slow
def test_data_that_changed_since_the_run_began_is_refused(composed: Composed, work: Path) -> None:
    cfg = composed("+experiment=baseline")
    train.run(cfg)
    directory = run_directory(cfg)
    manifest = directory.manifest() | {"data_fingerprint": "0" * 64}
    directory.write_manifest(manifest)
    (directory.path / "status.json").unlink()
    with pytest.raises(RunFailed, match="started with different data"):
        train.run(cfg)
