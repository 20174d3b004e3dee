"""The attention gate by hand, and wide open."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from brats_ablate.models.attention_gate import AttentionGate, AttentionGateAsReleased, NoGate


def test_no_gate_passes_the_skip():
    skip, upsampled = torch.randn(2, 1, 8, 3, 4, 5)
    assert NoGate(8)(skip, upsampled) is skip


@pytest.mark.parametrize("gate_type", [AttentionGate, AttentionGateAsReleased])
def test_a_gate_of_ones_is_the_identity(gate_type):
    gate = gate_type(8)
    last = gate.psi if gate_type is AttentionGate else gate.psi[1]
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, 50)
    skip, upsampled = torch.randn(2, 1, 8, 3, 4, 5)
    assert torch.equal(gate(skip, upsampled), skip)


def test_gate_computed_by_hand():
    gate = AttentionGate(2)
    with torch.no_grad():
        gate.from_skip.weight.copy_(torch.tensor([2.0, -1.0]).view(1, 2, 1, 1, 1))
        gate.from_signal.weight.copy_(torch.tensor([0.5, 1.0]).view(1, 2, 1, 1, 1))
        gate.from_signal.bias.fill_(0.25)
        gate.psi.weight.fill_(3.0)
        gate.psi.bias.fill_(-1.0)
    skip = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1, 1)
    upsampled = torch.tensor([2.0, 1.0]).view(1, 2, 1, 1, 1)
    # 2·1 - 1·3 + .5·2 + 1·1 + .25 = 1.25; 3·1.25 - 1 = 2.75
    expected = skip * torch.sigmoid(torch.tensor(2.75))
    torch.testing.assert_close(gate(skip, upsampled), expected)


@pytest.mark.parametrize("gate_type", [AttentionGate, AttentionGateAsReleased])
def test_one_weight_per_voxel_shared_by_the_channels(gate_type):
    skip, upsampled = torch.rand(2, 1, 8, 3, 4, 5) + 1
    ratio = gate_type(8)(skip, upsampled) / skip
    assert (ratio > 0).all()
    assert (ratio < 1).all()
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))
    assert ratio.std() > 0
