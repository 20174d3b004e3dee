"""Counts against numbers worked out by hand and against what the real network keeps."""

from __future__ import annotations

import torch
from torch import nn

from brats_ablate.model_summary.counts import count
from brats_ablate.models.base import SegmentationModel, SegmentationOutput

INPUT = (2, 4, 5, 6, 7)
VOXELS = 2 * 5 * 6 * 7


class TwoLayers(SegmentationModel):
    """3³ convolution to 8 channels, ReLU, 1³ convolution to 3."""

    def __init__(self) -> None:
        super().__init__((5, 6, 7), (1, 1, 1))
        self.wide = nn.Conv3d(4, 8, 3, padding=1, bias=False)
        self.relu = nn.ReLU()
        self.head = nn.Conv3d(8, 3, 1)

    def forward(self, x: torch.Tensor) -> SegmentationOutput:
        return SegmentationOutput([self.head(self.relu(self.wide(x)))], {})


def test_parameters_by_hand() -> None:
    assert count(TwoLayers, INPUT).parameters == 4 * 8 * 27 + 8 * 3 + 3


def test_flop_by_hand() -> None:
    assert count(TwoLayers, INPUT).forward_flop == 2 * VOXELS * (4 * 8 * 27 + 8 * 3)


def test_activations_by_hand() -> None:
    # The first convolution keeps its input (4 channels); ReLU and the head keep the same tensor (8 channels) once.
    assert count(TwoLayers, INPUT).activation_bytes == 4 * VOXELS * (4 + 8)


def test_shapes_are_recorded_in_order() -> None:
    passed = count(TwoLayers, INPUT).calls
    assert [p.name for p in passed] == ["wide", "relu", "head"]
    assert passed[0].inputs == ((2, 4, 5, 6, 7),)
    assert passed[2].outputs == ((2, 3, 5, 6, 7),)


def test_activations_grow_with_the_batch() -> None:
    one, three = (count(TwoLayers, (batch, *INPUT[1:])).activation_bytes for batch in (1, 3))
    assert three == 3 * one
