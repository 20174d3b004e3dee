from __future__ import annotations

import pytest

from brats_ablate.errors import ConfigError
from brats_ablate.transforms.sampling import check_probability, check_range, selected_samples


def test_a_transform_is_drawn_with_its_probability(make_batch) -> None:
    batch = make_batch(samples=4000, shape=(1, 1, 1))
    share = len(list(selected_samples(batch, "zoom", 0.15))) / 4000
    assert abs(share - 0.15) < 4 * (0.15 * 0.85 / 4000) ** 0.5
    assert not list(selected_samples(batch, "zoom", 0.0))
    assert len(list(selected_samples(batch, "zoom", 1.0))) == 4000


def test_transforms_are_drawn_independently_of_each_other(make_batch) -> None:
    batch = make_batch(samples=4000, shape=(1, 1, 1))
    zoomed = {b for b, _ in selected_samples(batch, "zoom", 0.5)}
    blurred = {b for b, _ in selected_samples(batch, "blur", 0.5)}
    assert abs(len(zoomed & blurred) / 4000 - 0.25) < 4 * (0.25 * 0.75 / 4000) ** 0.5


def test_the_parameter_is_uniform_on_its_interval(make_batch) -> None:
    batch = make_batch(samples=4000, shape=(1, 1, 1))
    factors = [rng.uniform(0.7, 1.3) for _, rng in selected_samples(batch, "brightness", 1.0)]
    mean = sum(factors) / 4000
    variance = sum((f - mean) ** 2 for f in factors) / 4000
    assert abs(mean - 1.0) < 4 * (0.6 / 12**0.5) / 4000**0.5
    assert variance == pytest.approx(0.6**2 / 12, rel=0.06)
    assert 0.7 <= min(factors) < 0.702
    assert 1.298 < max(factors) <= 1.3


def test_wrong_values_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"augment\.transforms\.zoom\.p=1\.5"):
        check_probability("zoom", 1.5)
    for bounds in ([1.4, 1.0], [0.5, 1.4], [1.0], [1.0, 1.1, 1.2]):
        with pytest.raises(ConfigError, match=r"zoom\.factor"):
            check_range("zoom.factor", bounds, at_least=1)
