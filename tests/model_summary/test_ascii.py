"""Drawings against the paper's Fig. 2, row by row, and of a network without levels."""

from __future__ import annotations

import torch
from small_unet import small_unet
from torch import nn

from brats_ablate.model_summary.ascii import draw, resolution
from brats_ablate.model_summary.counts import count
from brats_ablate.models.attention_gate import AttentionGate, NoGate
from brats_ablate.models.base import SegmentationModel, SegmentationOutput


def rows_of(gate: type[nn.Module]) -> list[list[str]]:
    shape = (1, 4, 16, 16, 32)
    drawing = draw(count(lambda: small_unet([8, 16, 24], (16, 16, 32), gate), shape).calls, shape)
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in drawing.splitlines()]


def test_a_unet_is_drawn_as_in_figure_2() -> None:
    assert rows_of(NoGate) == [
        ["input", "4 × 16×16×32"],
        ["stage", "resolution", "encoder", "decoder", "head"],
        ["1", "16×16×32", "3³ 4→8, 3³ 8→8", "─ skip ▸", "up 2³ 16→8, 3³ 16→8, 3³ 8→8", "1³ 8→3"],
        ["2", "8×8×16", "3³/2 8→16, 3³ 16→16", "─ skip ▸", "up 2³ 24→16, 3³ 32→16, 3³ 16→16", "1³ 16→3"],
        ["3", "4×4×8", "3³/2 16→24, 3³ 24→24", "bottom"],
    ]


def test_a_gate_is_drawn_on_its_skip_and_changes_nothing_else() -> None:
    plain, gated = rows_of(NoGate), rows_of(AttentionGate)
    for a, b in zip(plain, gated, strict=True):
        assert [cell.replace("AttentionGate", "skip") for cell in b] == a
    assert gated[2][3] == "─ AttentionGate ▸"


class Sequence3d(SegmentationModel):
    """No levels: two parts inside one."""

    def __init__(self) -> None:
        super().__init__((4, 4, 4), (1, 1, 1))
        self.network = nn.Sequential(nn.Conv3d(4, 8, 1), nn.ReLU(), nn.Conv3d(8, 3, 1))

    def forward(self, x: torch.Tensor) -> SegmentationOutput:
        return SegmentationOutput([self.network(x)], {})


def test_another_network_is_drawn_as_its_parts_that_have_parameters() -> None:
    shape = (1, 4, 4, 4, 4)
    lines = draw(count(Sequence3d, shape).calls, shape).splitlines()
    assert [line.split()[0] for line in lines] == ["input", "part", "network.0", "network.2"]
    assert "4 × 4³" in lines[2]
    assert "3 × 4³" in lines[3]


def test_resolution_names_cubes() -> None:
    assert resolution((1, 4, 8, 8, 8)) == "8³"
    assert resolution((1, 4, 8, 8, 16)) == "8×8×16"
