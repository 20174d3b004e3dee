"""Data flow between the parts of a network, traced through the autograd graph, regardless of the modules' names.

An arrow of a diagram is therefore a path of the computation, also where a forward adds or concatenates.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch.autograd.graph import Node

from brats_ablate.model_summary.counts import ModuleCall


@dataclass(frozen=True)
class InputEdges:
    """The sources of the inputs of one part."""

    parts: tuple[int, ...]
    """Positions in the sequence of parts, ascending."""
    network_input: bool
    """Whether the network's input is among them, unchanged."""


def trace(parts: Sequence[ModuleCall]) -> list[InputEdges]:
    """Return for each part the earlier ones whose output reaches it without passing through another part.

    Args:
        parts: in the order of the forward pass, none nested in another.
    """
    producers: dict[Node, int] = {}
    edges = []
    for position, part in enumerate(parts):
        sources = tuple(sorted(_producers_of(part.input_nodes, producers)))
        edges.append(InputEdges(sources, None in part.input_nodes))
        producers.update((node, position) for node in part.output_nodes if node is not None)
    return edges


def _producers_of(nodes: Iterable[Node | None], producers: dict[Node, int]) -> set[int]:
    """Return the positions of the first producers on each path backwards from `nodes`."""
    reached = set()
    visited: set[Node | None] = {None}
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        if node in producers:
            reached.add(producers[node])
        else:
            stack += [before for before, _ in node.next_functions]
    return reached
