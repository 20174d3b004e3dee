from __future__ import annotations

import torch
from torch import nn

from brats_ablate.training.matching_weights import load_matching, weights_in


def test_tensors_that_match_are_loaded_and_all_others_listed() -> None:
    """By hand: one more head, another number of input channels, and a layer that only the source has."""
    torch.manual_seed(0)
    source = nn.ModuleDict({"stem": nn.Conv3d(4, 2, 1), "body": nn.Conv3d(2, 2, 1), "vae": nn.Linear(2, 1)})
    model = nn.ModuleDict({"stem": nn.Conv3d(5, 2, 1), "body": nn.Conv3d(2, 2, 1), "head": nn.Linear(2, 3)})
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    matched = load_matching(source.state_dict(), model)
    assert matched.loaded == ["body.bias", "body.weight", "stem.bias"]
    assert matched.missing == ["head.bias", "head.weight"]
    assert matched.unused == ["vae.bias", "vae.weight"]
    assert matched.other_shape == {"stem.weight": "(2, 4, 1, 1, 1) -> (2, 5, 1, 1, 1)"}
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, source.state_dict()[name] if name in matched.loaded else before[name]), name
    assert str(matched) == (
        "3 of 6 tensors; not in it: head.bias, head.weight; "
        "other shape: stem.weight (2, 4, 1, 1, 1) -> (2, 5, 1, 1, 1); not used: vae.bias, vae.weight"
    )


def test_the_line_shortens_long_lists() -> None:
    model = nn.ModuleList([nn.Linear(1, 1, bias=False) for _ in range(5)])
    matched = load_matching({"0.weight": torch.ones(1, 1)}, model)
    assert str(matched) == "1 of 5 tensors; not in it: 1.weight, 2.weight, 3.weight and 1 more"


def test_weights_are_found_in_checkpoints_of_this_and_other_programs() -> None:
    weights = {"a": torch.ones(2)}
    for content in ({"model": weights, "epoch": 3}, {"state_dict": weights, "optimizer": {}}, weights):
        assert weights_in(content) == weights
    for content in ({"epoch": 3}, [torch.ones(2)], {}, torch.ones(2), {"model": {}}):
        assert weights_in(content) is None
