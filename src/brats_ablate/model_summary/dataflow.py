"""Which part of a network feeds which, traced through what computed each tensor: nothing is taken from the names.

So an arrow of a drawing is a path that the numbers took, also where a forward adds or concatenates between modules.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch.autograd.graph import Node

from brats_ablate.model_summary.counts import Passed


@dataclass(frozen=True)
class InputEdges:
    """Where the inputs of one part come from."""

    parts: tuple[int, ...]
    """Positions in the sequence of parts, ascending."""
    network_input: bool
    """Whether the network's input is among them, as it is."""


def trace(parts: Sequence[Passed]) -> list[InputEdges]:
    """For each of `parts`, which of the earlier ones it is fed by with none of `parts` between.

    Args:
        parts: in the order of the forward pass, none inside another.
    """
    left: dict[Node, int] = {}
    found = []
    for position, part in enumerate(parts):
        found.append(InputEdges(tuple(sorted(_reached(part.entered, left))), None in part.entered))
        left.update((node, position) for node in part.left if node is not None)
    return found


def _reached(entered: Iterable[Node | None], left: dict[Node, int]) -> set[int]:
    """The positions in `left` that a walk back from `entered` meets first on each path."""
    reached = set()
    seen: set[Node | None] = {None}
    waiting = list(entered)
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node in left:
            reached.add(left[node])
        else:
            waiting += [before for before, _ in node.next_functions]
    return reached
