"""Text diagram of a composed network, from the shapes of its forward pass, for comparison with the paper's Fig. 2.

A network with an encoder and a decoder list of stages is drawn as a U, one resolution per row; any other as the list
of its parts.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from brats_ablate.model_summary.counts import ModuleCall
from brats_ablate.runtime.text import align

_SUPERSCRIPT = {1: "1³", 2: "2³", 3: "3³", 5: "5³", 7: "7³"}


def draw(calls: Sequence[ModuleCall], input_shape: Sequence[int]) -> str:
    """Return the diagram of the calls that `counts.count` recorded for an input (B, C, X, Y, Z)."""
    stages = _stages(calls)
    rows = _u_shape(stages, calls) if stages else _parts(calls)
    return f"input  {with_channels(input_shape)}\n{align(rows)}"


def resolution(shape: Sequence[int]) -> str:
    """Format the spatial part of (B, C, X, Y, Z): `128³` for a cube, else `64×64×128`."""
    spatial = shape[2:]
    if len(spatial) == 3 and len(set(spatial)) == 1:
        return f"{spatial[0]}³"
    return "×".join(str(s) for s in spatial)


def _stages(calls: Sequence[ModuleCall]) -> list[tuple[ModuleCall, ModuleCall | None]]:
    """Return (encoder stage, decoder stage of its resolution or None), finest first; [] if it is no U-Net."""
    by_name = {p.name: p for p in calls}
    down = [by_name[name] for i in range(len(calls)) if (name := f"encoder.{i}") in by_name]
    up = [by_name[name] for i in range(len(calls)) if (name := f"decoder.{i}") in by_name]
    if not up or len(up) != len(down) - 1:
        return []
    return list(zip(down, [*up, None], strict=True))


def _u_shape(
    stages: Sequence[tuple[ModuleCall, ModuleCall | None]], calls: Sequence[ModuleCall]
) -> list[tuple[str, ...]]:
    heads = {p.inputs[0]: p for p in calls if p.name.startswith("heads.") and p.name.count(".") == 1}
    rows: list[tuple[str, ...]] = [("stage", "resolution", "encoder", "", "decoder", "head")]
    for number, (down, up) in enumerate(stages, start=1):
        shape = down.outputs[0]
        row = (str(number), resolution(shape), ", ".join(layers_of(down, calls)))
        if up is None:
            rows.append((*row, "bottom", "", ""))
            continue
        skip = f"─ {gate_of(up, calls) or 'skip'} ▸"
        head = heads.get(up.outputs[0])
        rows.append((*row, skip, ", ".join(layers_of(up, calls)), convolution(head) if head else ""))
    return rows


def gate_of(stage: ModuleCall, calls: Sequence[ModuleCall]) -> str | None:
    """Return the class of the gate on the skip into decoder stage `stage`; None without one."""
    gates = (p.module for p in calls if p.name == f"{stage.name}.gate" and any(True for _ in p.module.parameters()))
    return next((type(gate).__name__ for gate in gates), None)


def layers_of(stage: ModuleCall, calls: Sequence[ModuleCall]) -> list[str]:
    """List the convolutions of `stage` in execution order, with DropBlock between them; at most four."""
    layers: list[str] = []
    for part in calls:
        if not part.name.startswith(f"{stage.name}.") or part.name.startswith(f"{stage.name}.gate"):
            continue
        if isinstance(part.module, nn.Conv3d | nn.ConvTranspose3d):
            parallel = "+ " if ".shortcut" in part.name else ""
            layers.append(parallel + convolution(part))
        elif type(part.module).__name__.startswith("DropBlock"):
            layers[-1] += " drop"
    if len(layers) > 4:
        layers = [*layers[:2], f"… {len(layers) - 3} more", layers[-1]]
    return layers


def convolution(part: ModuleCall) -> str:
    """Format a (transposed) convolution: kernel, stride and channels as `3³/2 32→64`."""
    module = part.module
    assert isinstance(module, nn.Conv3d | nn.ConvTranspose3d)
    edge, stride = module.kernel_size[0], module.stride[0]
    kernel = _SUPERSCRIPT.get(edge, f"{edge}³") if len(set(module.kernel_size)) == 1 else str(module.kernel_size)
    up = "up " if isinstance(module, nn.ConvTranspose3d) else ""
    by_stride = f"/{stride}" if stride > 1 and not up else ""
    groups = f" in {module.groups} groups" if module.groups > 1 else ""
    return f"{up}{kernel}{by_stride} {module.in_channels}→{module.out_channels}{groups}"


def _parts(calls: Sequence[ModuleCall]) -> list[tuple[str, ...]]:
    """Return one row per part of the network."""
    rows: list[tuple[str, ...]] = [("part", "is a", "parameters", "in", "out")]
    for part in top_parts(calls):
        inputs, outputs = _with_channels_each(part.inputs), _with_channels_each(part.outputs)
        rows.append((part.name, type(part.module).__name__, parameters_of(part), inputs, outputs))
    return rows


def top_parts(calls: Sequence[ModuleCall]) -> list[ModuleCall]:
    """Return the parts with parameters at the first depth of the module tree that has several, in execution order."""
    depth = next((d for d in range(1, 6) if len(_at_depth(calls, d)) > 1), 1)
    return [p for p in _at_depth(calls, depth) if any(True for _ in p.module.parameters())]


def parameters_of(part: ModuleCall) -> str:
    """Format the number of parameters: `0.031 M`."""
    return f"{sum(p.numel() for p in part.module.parameters()) / 1e6:.3f} M"


def _at_depth(calls: Sequence[ModuleCall], depth: int) -> list[ModuleCall]:
    """Return the calls at `depth` of the module tree; list containers, which are not called, do not count."""
    called = {p.name for p in calls}

    def depth_of(name: str) -> int:
        pieces = name.split(".")
        return sum(".".join(pieces[: i + 1]) in called for i in range(len(pieces)))

    return [p for p in calls if depth_of(p.name) == depth]


def with_channels(shape: Sequence[int]) -> str:
    """Format (B, C, X, Y, Z) as `32 × 128³`, tokens as `512×768`."""
    if len(shape) == 5:
        return f"{shape[1]} × {resolution(shape)}"
    return "×".join(str(s) for s in shape[1:])


def _with_channels_each(shapes: Sequence[Sequence[int]]) -> str:
    return " + ".join(with_channels(s) for s in shapes[:3]) + (" + …" if len(shapes) > 3 else "")
