"""Data flow between the parts of a network, traced through the autograd graph, regardless of the modules' names.

An arrow of a diagram is therefore a path of the computation, also where a forward adds or concatenates.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch.autograd.graph import Node

from brats_ablate.model_summary.counts import ModuleCall


def trace(parts: Sequence[ModuleCall]) -> list[list[int]]:
    """Return for each part the sources of its inputs, ascending: 1 is the first part, 0 the network's input, unchanged.

    A source is an earlier part whose output reaches this one without passing through another. Parts are in the order of
    the forward pass, none nested in another.
    """
    producers: dict[Node, int] = {}
    edges = []
    for position, part in enumerate(parts, start=1):
        network_input = [0] if None in part.input_nodes else []
        edges.append(network_input + sorted(_producers_of(part.input_nodes, producers)))
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
