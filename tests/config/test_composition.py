"""The tests' own quick composition against Hydra's."""

from __future__ import annotations

import pytest
from composition import composed, hydras
from hydra.errors import HydraException
from omegaconf import OmegaConf


@pytest.mark.parametrize(
    "overrides",
    [
        ["fold=2", "+experiment=ds", "lr=1e-3", "patches.shape=[16,16,16]"],
        ["trainer.epochs=7", "trainer=cpu", "encoder.width=0.5"],
        ["++data.new=1", "data=phantom", "data.phantom={cases: 3}", "name='a,b'"],
        ["~augment.transforms.noise", "trust=[x]", "init.checkpoint=null", "paths.work=${oc.env:HOME}/w"],
        ["data/layout=msd", "labels.regions.ET=[ET,NCR]", "postprocess=paper"],
    ],
)
def test_quick_composition_equals_hydras(overrides: list[str]) -> None:
    quick, slow = (OmegaConf.to_container(cfg) for cfg in (composed(*overrides), hydras(*overrides)))
    assert quick == slow
    assert composed(*overrides) is not composed(*overrides)


@pytest.mark.parametrize(
    "override", ["foold=1", "fold.x=1", "trainer=gpu", "fold=0,1", "fold@x=1", "+fold=1", "a=[", "lr"]
)
def test_a_mistake_is_hydras_own_error(override: str) -> None:
    with pytest.raises(HydraException) as expected:
        hydras(override)
    with pytest.raises(HydraException) as raised:
        composed(override)
    assert str(raised.value) == str(expected.value)
