"""Enabling the fusions: what changes in a network, and what does not."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from small_unet import small_unet
from torch import nn

from brats_ablate.models import kernels
from brats_ablate.models.attention_gate import NoGate
from brats_ablate.models.blocks import ConvBlock, ConvLayer
from brats_ablate.models.kernels.fused_norm_relu import FusedConvLayer
from brats_ablate.models.kernels.fused_upsample_conv import FusedDecoderStage
from brats_ablate.models.kernels.packed_conv import PackedConv3d
from brats_ablate.models.unet import DecoderStage, UNet


@pytest.fixture
def network() -> UNet:
    return small_unet([8, 16, 32], (16, 24, 32))


def test_a_network_is_plain_until_its_fusions_are_enabled(network: UNet) -> None:
    assert not any(isinstance(m, FusedConvLayer | FusedDecoderStage) for m in network.modules())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    kernels.enable(network)
    assert {type(m) for m in network.modules() if isinstance(m, ConvLayer)} == {FusedConvLayer}
    assert {type(m) for m in network.decoder} == {FusedDecoderStage}
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_packing_changes_no_names_and_no_weights_and_adds_to_the_fusions(network: UNet) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x = torch.randn(1, 4, 16, 24, 32)
    kernels.enable(network)
    expected = network(x).logits
    kernels.enable_packing(network)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv3d) and m.kernel_size == (3, 3, 3)]
    packed = {m for m in convolutions if isinstance(m, PackedConv3d)}
    assert packed == {m for m in convolutions if m.stride == (1, 1, 1) and m.out_channels <= 32}
    assert packed
    assert {type(m) for m in network.modules() if isinstance(m, ConvLayer)} == {FusedConvLayer}
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    for one, other in zip(network(x).logits, expected, strict=True):
        assert torch.equal(one, other)  # a CPU packs nothing


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_keeps_the_fusions_and_a_second_call_changes_nothing(network: UNet, duplicate) -> None:
    kernels.enable(network)
    twin = duplicate(network)
    kernels.enable(twin)
    assert [type(m) for m in twin.modules()] == [type(m) for m in network.modules()]
    x = torch.randn(1, 4, 16, 24, 32)
    for one, other in zip(network(x).logits, twin(x).logits, strict=True):
        assert torch.equal(one, other)


def test_an_own_subclass_of_a_layer_is_left_alone(network: UNet) -> None:
    class Custom(ConvLayer):
        pass

    class CustomStage(DecoderStage):
        pass

    for module in (Custom(4, 8), CustomStage(16, 8, ConvBlock, NoGate)):
        kernels.enable(module)
        assert type(module) in (Custom, CustomStage)


def test_recomputed_activations_give_equal_gradients(network: UNet) -> None:
    kernels.enable(network)
    recomputing = copy.deepcopy(network)
    recomputing.checkpointing = True
    x = torch.randn(1, 4, 16, 24, 32)
    for model in (network, recomputing):
        model(x).logits[0].square().mean().backward()
    pairs = zip(network.parameters(), recomputing.parameters(), strict=True)
    assert all(torch.equal(a.grad, b.grad) for a, b in pairs if a.grad is not None)


@pytest.mark.slow
def test_an_enabled_network_is_traced_as_one_graph(network: UNet) -> None:
    kernels.enable(network)
    graphs = []

    def count(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    torch.compile(network, backend=count, fullgraph=True)(torch.randn(1, 4, 16, 24, 32)).logits[0].sum().backward()
    assert len(graphs) == 1
