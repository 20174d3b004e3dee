from __future__ import annotations

import math

import pytest

from brats_ablate.training.state import MAX_SKIPPED_IN_A_ROW, TrainState

FINE = {"loss": 2.0, "grad_norm": 3.0}


@pytest.mark.parametrize("norm", [math.inf, math.nan])
def test_a_gradient_that_is_not_finite_is_a_fault(norm: float) -> None:
    assert TrainState().add({"loss": 1.0, "grad_norm": norm}, scaled=False) == f"the gradient's norm is {norm}"


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("loss", [math.inf, math.nan])
def test_so_is_the_loss_which_no_scaling_mends(loss: float, scaled: bool) -> None:
    assert TrainState().add({"loss": loss, "grad_norm": math.nan}, scaled=scaled) == f"the loss is {loss}"


def test_steps_that_loss_scaling_skipped_are_counted_and_not_averaged() -> None:
    state = TrainState()
    faults = [state.add({"loss": 1.0, "grad_norm": norm}, scaled=True) for norm in (math.inf, 4.0, math.nan, 8.0)]
    assert faults == [None] * 4
    assert state.means(list(state.sums.values()), 4) == {"loss": 1.0, "grad_norm": 6.0, "skipped_steps": 2.0}


def test_without_skipped_steps_none_are_recorded() -> None:
    state = TrainState()
    state.add(FINE, scaled=True)
    assert state.means(list(state.sums.values()), 1) == FINE


def test_an_epoch_of_skipped_steps_has_no_norm() -> None:
    state = TrainState()
    state.add({"loss": 1.0, "grad_norm": math.inf}, scaled=True)
    assert state.means(list(state.sums.values()), 1) == {"loss": 1.0, "skipped_steps": 1.0}


def test_only_a_long_row_of_skipped_steps_is_a_fault() -> None:
    state = TrainState()
    overflow = {"loss": 1.0, "grad_norm": math.inf}
    assert [state.add(overflow, scaled=True) for _ in range(MAX_SKIPPED_IN_A_ROW)] == [None] * MAX_SKIPPED_IN_A_ROW
    assert state.add(FINE, scaled=True) is None  # the row ends
    assert [state.add(overflow, scaled=True) for _ in range(MAX_SKIPPED_IN_A_ROW)] == [None] * MAX_SKIPPED_IN_A_ROW
    assert state.add(overflow, scaled=True) == "the gradient overflowed fp16 in 51 steps in a row, the last"
