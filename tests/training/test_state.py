from __future__ import annotations

import math

import pytest

from brats_ablate.training.state import MAX_SKIPPED_IN_A_ROW, Fault, TrainState, cause

FINE = {"loss": 2.0, "grad_norm": 3.0}


def add(state: TrainState, numbers: dict[str, float], *, scaled: bool) -> str | None:
    """What is at fault in step 7 on case a."""
    fault = state.add(7, ["a"], numbers, scaled=scaled)
    assert fault is None or (fault.step, fault.case_ids) == (7, ["a"])
    return None if fault is None else fault.what


@pytest.mark.parametrize("norm", [math.inf, math.nan])
def test_a_gradient_that_is_not_finite_is_a_fault(norm: float) -> None:
    assert add(TrainState(), {"loss": 1.0, "grad_norm": norm}, scaled=False) == f"the gradient's norm is {norm}"


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("loss", [math.inf, math.nan])
def test_so_is_the_loss_which_no_scaling_mends(loss: float, scaled: bool) -> None:
    assert add(TrainState(), {"loss": loss, "grad_norm": math.nan}, scaled=scaled) == f"the loss is {loss}"


def test_steps_that_loss_scaling_skipped_are_counted_and_not_averaged() -> None:
    state = TrainState()
    faults = [add(state, {"loss": 1.0, "grad_norm": norm}, scaled=True) for norm in (math.inf, 4.0, math.nan, 8.0)]
    assert faults == [None] * 4
    assert state.means(list(state.sums.values()), 4) == {"loss": 1.0, "grad_norm": 6.0, "skipped_steps": 2.0}


def test_without_skipped_steps_none_are_recorded() -> None:
    state = TrainState()
    add(state, FINE, scaled=True)
    assert state.means(list(state.sums.values()), 1) == FINE


def test_an_epoch_of_skipped_steps_has_no_norm() -> None:
    state = TrainState()
    add(state, {"loss": 1.0, "grad_norm": math.inf}, scaled=True)
    assert state.means(list(state.sums.values()), 1) == {"loss": 1.0, "skipped_steps": 1.0}


def test_only_a_long_row_of_skipped_steps_is_a_fault() -> None:
    state = TrainState()
    overflow = {"loss": 1.0, "grad_norm": math.inf}
    assert [add(state, overflow, scaled=True) for _ in range(MAX_SKIPPED_IN_A_ROW)] == [None] * MAX_SKIPPED_IN_A_ROW
    assert add(state, FINE, scaled=True) is None  # the row ends
    assert [add(state, overflow, scaled=True) for _ in range(MAX_SKIPPED_IN_A_ROW)] == [None] * MAX_SKIPPED_IN_A_ROW
    assert add(state, overflow, scaled=True) == "the gradient overflowed fp16 in 51 steps in a row, the last"


def test_a_loss_explains_the_gradient_that_the_ranks_share() -> None:
    """The ranks average their gradients, so all of them are undefined if one loss is."""
    gradient, loss = Fault("the gradient's norm is nan", 5, ["a"], True), Fault("the loss is nan", 5, ["b"], False)
    assert cause([gradient, loss]) == (1, "the loss is nan at step 5 on b")
    assert cause([None, loss]) == (1, "the loss is nan at step 5 on b")
    both = [gradient, gradient._replace(case_ids=["c", "d"])]
    assert cause(both) == (0, "the gradient's norm is nan at step 5 on a, c, d")
