"""The traced flow of networks whose wiring is known: by module, and by what a forward does between its modules."""

from __future__ import annotations

import torch
from torch import nn

from brats_ablate.model_summary.counts import count
from brats_ablate.model_summary.dataflow import trace
from brats_ablate.models.base import SegmentationModel, SegmentationOutput

INPUT = (1, 4, 4, 4, 6)


class Wired(SegmentationModel):
    """Adds, concatenates, views, overwrites in place, uses a part twice and leaves one out of the answer."""

    def __init__(self) -> None:
        super().__init__((4, 4, 6), (1, 1, 1))
        self.a, self.b, self.c = (nn.Conv3d(4, 4, 1) for _ in range(3))
        self.join, self.unheard = nn.Conv3d(8, 3, 1), nn.Conv3d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> SegmentationOutput:
        a = torch.relu_(self.a(x))
        b = self.b(a.flatten(2).view_as(a))
        self.unheard(b)
        c = self.c(a + b)
        again = self.c(x)
        return SegmentationOutput([self.join(torch.cat((c, again), dim=1))], {})


def test_sources_are_those_that_the_forward_used() -> None:
    passed = count(Wired, INPUT).calls
    assert [p.name for p in passed] == ["a", "b", "unheard", "c", "c", "join"]
    assert trace(passed) == [
        [0],
        [1],
        [2],
        [1, 2],  # the sum of both
        [0],  # its second use has its own sources
        [4, 5],
    ]


def test_a_part_that_is_left_out_of_the_parts_is_seen_through() -> None:
    passed = [p for p in count(Wired, INPUT).calls if p.name != "b"]
    assert trace(passed)[2] == [1]
