"""Two independent generators of simulated tables with a known truth, for `calibration.py`.

Both draw per-case Dice as in BraTS: WT, TC and ET have a heavy left tail, a few percent of the cases have no ET (Dice 1 or
0), and all networks share the difficulty of a case. The mean Dice is 0.91 and the SD over folds of the difference of two
single runs 0.0010; they are 0.91 and 0.0008 in the paper's Table 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

FOLDS = 5
EPOCHS = 10
"""Validated epochs behind a score."""
NO_ET = 33 / 1251
"""Share of BraTS 2021's training cases without ET."""
FALSE_ET = 0.3
"""Share of these cases in which a network predicts one."""


@dataclass(frozen=True)
class Scenario:
    """Parameters of one simulation. Column 0 is the baseline."""

    title: str
    columns: int = 6
    """Baseline included."""
    runs: tuple[int, ...] = (3,)
    """Learning rates of each column, repeated from the left."""
    cases: int = 1251
    scans: int = 1
    """Scans of a patient at most, uniformly from 1."""
    gain: float = 0.0
    """True gain in mean Dice of column 1."""
    training: tuple[float, ...] = (1,)
    """Factor on the run-to-run SD of each column; the last one counts for all that follow."""
    epochs: tuple[float, ...] = (1,)
    """The same for the SD between epochs."""
    case_noise: tuple[float, ...] = (1,)
    """The same for the SD between networks on a case."""

    @property
    def most_runs(self) -> int:
        return max(self.runs)

    def runs_of(self, column: int) -> int:
        return self.runs[min(column, len(self.runs) - 1)]

    def factors(self, of: tuple[float, ...]) -> np.ndarray:
        """Return (columns,) of one of the factors."""
        return np.array([of[min(c, len(of) - 1)] for c in range(self.columns)])


@dataclass(frozen=True)
class Drawn:
    """One simulated table."""

    dice: np.ndarray
    """(columns, L, epochs, cases, 3)."""
    patient: np.ndarray
    """(cases,) number of the case's patient."""
    fold: np.ndarray
    """(cases,)"""
    recipe: np.ndarray
    """(columns,) true mean Dice of the recipe, up to a constant."""
    trained: np.ndarray
    """(columns, L) the same of the networks as trained, mean over folds."""


Generator = Callable[[Scenario, np.random.Generator], Drawn]


def factors_only(s: Scenario, draw: np.random.Generator) -> Drawn:
    """Draw networks whose error is one factor per run, and independent on every case; one epoch."""
    k, L = s.columns, s.most_runs
    patient, fold = _patients(s, draw)
    n = len(fold)
    effect = 0.00035 * s.factors(s.training)[:, None, None] * draw.normal(size=(k, L, FOLDS))
    effect += 0.0002 * s.factors(s.epochs)[:, None, None] * draw.normal(size=(k, L, FOLDS))
    recipe = np.zeros(k)
    recipe[1] += s.gain
    skill = -((effect + recipe[:, None, None]) / _LEVERAGE)[:, :, fold]
    sd = 0.06 * s.factors(s.case_noise)[:, None, None, None]
    noise = np.exp(sd * draw.standard_normal((k, L, n, 3), dtype=np.float32) - sd**2 / 2)
    errors = _errors(patient, draw)
    dice = 1 - np.clip(errors + _room(errors) * (noise * (1 + skill[..., None]) - 1), 0, 1)
    empty = (draw.random(patient[-1] + 1) < NO_ET)[patient]
    shared = np.sqrt(0.99) * draw.normal(size=n)[empty]
    latent = shared + 0.1 * draw.normal(size=(k, L, int(empty.sum())))
    dice[:, :, empty, 2] = ndtr(latent) >= FALSE_ET * (1 + skill[:, :, empty])
    return Drawn(dice[:, :, None], patient, fold, recipe, recipe[:, None] + effect.mean(axis=2))


def components(s: Scenario, draw: np.random.Generator) -> Drawn:
    """Draw networks with recipe × case, network × case and epoch × case noise, over autocorrelated epochs.

    Training effects are heavy-tailed (Student's t, 4 degrees of freedom), partly shared by the runs of a fold. Learning
    rates have effects of their own. An ET where there is none is predicted below a latent threshold.
    """
    k, L, E = s.columns, s.most_runs, EPOCHS
    patient, fold = _patients(s, draw)
    n = len(fold)
    heavy = draw.standard_t(4, size=(k, L, FOLDS)) / np.sqrt(2)
    training = s.factors(s.training)[:, None, None]
    effect = training * (0.0004 * heavy + 0.0002 * draw.normal(size=(k, 1, FOLDS)))
    # Where columns share only some learning rates, an effect of these on one column would be a difference of recipes.
    of_column = 0.0003 if len(set(s.runs)) == 1 else 0.0
    rates = draw.normal(0, 0.0005, size=(1, L)) + draw.normal(0, of_column, size=(k, L))
    rates -= rates.mean(axis=1, keepdims=True)  # the recipe is the mean over learning rates
    epochs = (
        0.0005
        * s.factors(s.epochs)[:, None, None, None]
        * _autocorrelated((E, k, L, FOLDS), draw).transpose(1, 2, 3, 0)
    )
    recipe = np.zeros(k)
    recipe[1] += s.gain
    of_run = (recipe[:, None, None] + rates[:, :, None] + effect)[..., None] + epochs  # (k, L, J, E)
    skill = (-of_run / _LEVERAGE)[:, :, fold].transpose(0, 1, 3, 2).astype(np.float32)  # (k, L, E, n)

    def normal(*shape: int) -> np.ndarray:
        return draw.standard_normal(shape, dtype=np.float32)

    by_case = s.factors(s.case_noise)[:, None, None, None].astype(np.float32)
    by_epoch = s.factors(s.epochs)[:, None, None, None].astype(np.float32)
    errors = _errors(patient, draw).astype(np.float32)
    room = _room(errors)
    patients = int(patient[-1]) + 1
    dice = np.empty((k, L, E, n, 3), dtype=np.float32)
    for region in range(3):
        relative = by_case * (0.04 * normal(k, 1, 1, patients) + 0.05 * normal(k, L, 1, patients))
        relative = relative[..., patient] + by_epoch * 0.05 * normal(k, L, E, n)
        variance = by_case**2 * (0.04**2 + 0.05**2) + by_epoch**2 * 0.05**2
        factor = np.exp(relative - variance / 2) * (1 + skill) - 1
        dice[..., region] = 1 - np.clip(errors[:, region] + room[:, region] * factor, 0, 1)
    empty = (draw.random(patients) < NO_ET)[patient]
    latent = 0.07 * by_case * (normal(k, 1, 1, patients) + normal(k, L, 1, patients)) + np.sqrt(0.98) * normal(patients)
    latent = latent[..., patient[empty]] + 0.1 * by_epoch * normal(k, L, E, int(empty.sum()))
    sd = np.sqrt(0.98 + 0.01 * (0.98 * by_case**2 + by_epoch**2))
    dice[:, :, :, empty, 2] = ndtr(latent / sd) >= FALSE_ET * (1 + skill[..., empty])
    as_trained = recipe[:, None] + (effect + epochs.mean(axis=-1)).mean(axis=2)
    return Drawn(dice, patient, fold, recipe, as_trained)


def _patients(s: Scenario, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return (cases,) patients in ascending order, and (cases,) their folds."""
    if s.scans == 1:
        patient = np.arange(s.cases)
    else:
        counts = draw.integers(1, s.scans + 1, size=s.cases)
        patient = np.repeat(np.arange(s.cases), counts)[: s.cases]
    return patient, patient % FOLDS


def _errors(patient: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Draw (n, 3) values of 1 - Dice of WT, TC, ET: logit-normal, with 5 % of regions mostly missed.

    Scans of one patient are of the same difficulty.
    """
    patients = int(patient[-1]) + 1
    logit = np.array([3.0, 3.1, 2.6]) - 0.55 * draw.normal(size=(patients, 1)) - 0.65 * draw.normal(size=(patients, 3))
    errors: np.ndarray = 1 / (1 + np.exp(logit - 2.6 * (draw.random((patients, 3)) < 0.05)))
    return errors[patient]


def _room(errors: np.ndarray) -> np.ndarray:
    """Return by how much an error may change either way, so that noise leaves its mean as it is."""
    room: np.ndarray = np.minimum(errors, 1 - errors)
    return room


def _autocorrelated(shape: tuple[int, ...], draw: np.random.Generator) -> np.ndarray:
    """Draw standard normal values with a correlation of 0.7 from one entry of the first axis to the next."""
    values = draw.normal(size=shape)
    for step in range(1, shape[0]):
        values[step] = 0.7 * values[step - 1] + np.sqrt(1 - 0.49) * values[step]
    return values


def _leverage() -> float:
    """Return the change of the mean Dice by a relative error of 1."""
    room = _room(_errors(np.arange(1_000_000), np.random.default_rng(12345))).mean(axis=0)
    return float(room.mean() + NO_ET * (FALSE_ET - room[2]) / 3)


_LEVERAGE = _leverage()
