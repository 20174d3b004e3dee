from __future__ import annotations

from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from brats_ablate.config.check import resolve
from brats_ablate.runs.identity import config_hash, differences, identity

Composition = Callable[..., DictConfig]


@pytest.mark.parametrize(
    "override",
    [
        "paths.work=/elsewhere",
        "data.raw=/elsewhere",
        "tracker=wandb",
        "tracker=both",
        "postprocess=paper",
        "inference.tta._target_=brats_ablate.inference.tta.NoTTA",
        "job=predict",
        "trainer.device=cpu",
        "trainer.devices=4",
        "trainer.loader_threads=9",
        "trainer.checkpoint_minutes=1",
        "trainer.hang_minutes=1",
        "trainer.compile=true",
        "trainer.progress=none",
        "trainer.validate_untrained=true",
        "model.checkpointing=true",
    ],
)
def test_what_does_not_change_the_result_is_not_of_the_identity(composition: Composition, override: str) -> None:
    assert identity(resolve(composition(override))) == identity(resolve(composition()))


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("fold=1", "fold"),
        ("lr=1e-3", "lr"),
        ("seed=1", "seed"),
        ("data.fold_seed=1", "data.fold_seed"),
        ("data.spacing=[1,1,1]", "data.spacing"),
        ("data.fraction=0.5", "data.fraction"),
        ("trainer.epochs=9", "trainer.epochs"),
        ("trainer.precision=fp32", "trainer.precision"),
        ("trainer.ranks=2", "trainer.ranks"),
        ("validation.every=2", "trainer.validate_every"),  # which epochs can be the best
        ("validation.final_every=1", "validation.final_every"),
        ("patches.tumour_probability=0.5", "patches.tumour_probability"),
        ("encoder.width=0.5", "encoder.width"),
        ("optimizer.weight_decay=0", "optimizer.weight_decay"),
        ("model.gate._target_=brats_ablate.models.attention_gate.AttentionGate", "model.gate._target_"),
        ("model.drop_stages=2", "model.drop_stages"),
        ("model.upsample._target_=brats_ablate.models.upsample.UpsampleAsReleased", "model.upsample._target_"),
        ("inference.average=logits", "inference.average"),
        ("inputs.modalities=[t1ce]", "inputs.modalities"),
        ("inference.window.overlap=0.25", "inference.window.overlap"),  # it chooses the checkpoints
    ],
)
def test_what_changes_the_result_is_of_the_identity(composition: Composition, override: str, key: str) -> None:
    changed, plain = identity(resolve(composition(override))), identity(resolve(composition()))
    assert config_hash(changed) != config_hash(plain)
    assert [line.split(":")[0] for line in differences(plain, changed)] == [key]


def test_the_hash_does_not_depend_on_the_order_of_keys() -> None:
    assert config_hash({"a": 1, "b": [2]}) == config_hash({"b": [2], "a": 1})
    assert config_hash({"a": 1}) != config_hash({"a": 1.5})


def test_differences_name_old_and_new() -> None:
    assert differences({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 5, "d": 4}) == [
        "b: 2 -> 5",
        "c: 3 -> (absent)",
        "d: (absent) -> 4",
    ]
    assert differences({}, {"trainer.ranks": 2}) == ["trainer.ranks: 1 -> 2"]  # left out at the value of version 0.1
