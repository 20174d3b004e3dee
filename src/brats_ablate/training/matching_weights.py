"""Initial weights of another network: those that match by name and shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class MatchedWeights:
    """Names of tensors by what became of them, each sorted."""

    loaded: list[str]
    missing: list[str]
    """In the network only; they keep their random initialization."""
    unused: list[str]
    """In the source only."""
    other_shape: dict[str, str]
    """In both, with the two shapes; they keep their random initialization."""

    def __str__(self) -> str:
        total = len(self.loaded) + len(self.missing) + len(self.other_shape)
        parts = [f"{len(self.loaded)} of {total} tensors"]
        shapes = [f"{name} {shapes}" for name, shapes in self.other_shape.items()]
        for title, names in (("not in it", self.missing), ("other shape", shapes), ("not used", self.unused)):
            if names:
                more = f" and {len(names) - 3} more" if names[3:] else ""
                parts.append(f"{title}: {', '.join(names[:3])}{more}")
        return "; ".join(parts)


def weights_in(content: Any) -> dict[str, Tensor] | None:
    """Return the weights in a checkpoint of this program (`model`), of others (`state_dict`), or in a plain dict."""
    if isinstance(content, Mapping):
        for node in (content.get("model"), content.get("state_dict"), content):
            if isinstance(node, Mapping) and node and all(isinstance(value, Tensor) for value in node.values()):
                return {str(name): value for name, value in node.items()}
    return None


def load_matching(weights: Mapping[str, Tensor], model: torch.nn.Module) -> MatchedWeights:
    """Copy the tensors of `weights` that `model` has by the same name and shape into it; the others stay."""
    own = model.state_dict()
    shared = sorted(own.keys() & weights.keys())
    loaded = [name for name in shared if own[name].shape == weights[name].shape]
    model.load_state_dict({name: weights[name] for name in loaded}, strict=False)
    return MatchedWeights(
        loaded=loaded,
        missing=sorted(own.keys() - weights.keys()),
        unused=sorted(weights.keys() - own.keys()),
        other_shape={n: f"{tuple(weights[n].shape)} -> {tuple(own[n].shape)}" for n in shared if n not in set(loaded)},
    )
