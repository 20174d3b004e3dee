"""When a run is validated, and how: by hand, as properties, and in a run on the small phantom cohort."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig
from scaffolding import assert_same_training, interrupted

from brats_ablate.errors import ConfigError
from brats_ablate.jobs import train
from brats_ablate.launch.sweep import run_directory
from brats_ablate.tables.tested_scores import epochs_under_test
from brats_ablate.training.validation_schedule import ValidationSchedule

Composed = Callable[..., DictConfig]


def epochs_of(schedule: ValidationSchedule, epochs: int, kind: str) -> list[int]:
    return [epoch for epoch in range(1, epochs + 1) if schedule.kind(epoch, epochs) == kind]


@pytest.mark.parametrize(
    ("every", "final_every", "epochs", "interim", "final"),
    [
        (1, None, 3, [], [1, 2, 3]),
        (4, None, 10, [], [4, 8, 10]),
        (10, 1, 40, [10, 20, 30], [37, 38, 39, 40]),  # after nine tenths, that is after epoch 36
        (10, 2, 33, [10, 20], [30, 32, 33]),  # not divisible: after epoch 29.7
        (2, 1, 7, [2, 4, 6], [7]),
        (10, 1, 1, [], [1]),
        (10, 10, 25, [10, 20], [25]),
    ],
)
def test_epochs_by_hand(every: int, final_every: int | None, epochs: int, interim: list[int], final: list[int]) -> None:
    schedule = ValidationSchedule(every, final_every)
    assert epochs_of(schedule, epochs, "interim") == interim
    assert epochs_of(schedule, epochs, "final") == final
    assert schedule.count(epochs) == (len(interim), len(final))


def test_the_paper_and_the_cheap_design_test_the_same_epochs() -> None:
    paper, cheap = ValidationSchedule(1), ValidationSchedule(10, 1)
    assert cheap.count(1000) == (90, 100)
    tested = [epochs_under_test(epochs_of(schedule, 1000, "final"), 1000) for schedule in (paper, cheap)]
    assert tested == [list(range(991, 1001))] * 2


@given(every=st.integers(1, 40), final_every=st.integers(1, 40), epochs=st.integers(1, 400))
def test_the_score_under_test_is_of_final_epochs(every: int, final_every: int, epochs: int) -> None:
    schedule = ValidationSchedule(every, final_every)
    final, interim = epochs_of(schedule, epochs, "final"), epochs_of(schedule, epochs, "interim")
    assert final[-1] == epochs
    assert all(epoch > 0.9 * epochs for epoch in final)
    assert all(epoch <= 0.9 * epochs and epoch % every == 0 for epoch in interim)
    assert epochs_under_test(final, epochs) == final[-10:]


@pytest.mark.parametrize("numbers", [(0, None), (1, 0), (-3, 1)])
def test_numbers_below_one_are_refused(numbers: tuple[int, int | None]) -> None:
    with pytest.raises(ConfigError, match=r"validation\.(final_)?every=(0|-3) must be at least 1"):
        ValidationSchedule(*numbers)


# Of 3 epochs the last is final; interim is the second.
SCHEDULED = ("validation=scheduled", "validation.every=2", "trainer.epochs=3")


@pytest.mark.slow
def test_checkpoints_are_of_final_epochs_and_resuming_changes_nothing(composed: Composed) -> None:
    cfg = composed("+experiment=baseline", *SCHEDULED)
    train.run(cfg)
    straight = run_directory(cfg)
    rows = straight.metrics()
    assert [row["epoch"] for row in rows if "interim/dice" in row] == [2]
    assert [row["epoch"] for row in rows if "dice" in row] == [3]
    assert ["seconds/validation" in row for row in rows] == [False, True, True]
    assert {case["epoch"] for case in straight.cases()} == {3}
    assert [file.name for file in straight.best_checkpoints()] == [straight.best_checkpoint(3, rows[-1]["dice"]).name]
    status = straight.status()
    assert status.best == rows[-1]["dice"]

    cfg = composed("+experiment=baseline", *SCHEDULED, "paths.runs=${paths.work}/resumed")
    resumed = interrupted(cfg, 10)  # in the third epoch
    assert resumed.best_checkpoints() == []
    train.run(cfg)
    assert_same_training(straight, resumed)

    cfg = composed("+experiment=baseline", "trainer.epochs=3", "paths.runs=${paths.work}/every_epoch")
    train.run(cfg)
    assert [case for case in run_directory(cfg).cases() if case["epoch"] == 3] == straight.cases()


@pytest.mark.slow
def test_a_network_of_one_shape_passes_over_a_volume_once(composed: Composed) -> None:
    small = ("model.hidden_size=48", "model.num_heads=4", "model.feature_size=8")
    cfg = composed("+experiment=unetr", "validation=scheduled", "validation.every=1", *small)
    train.run(cfg)
    assert ["interim/dice" in row for row in run_directory(cfg).metrics()] == [True, False]
