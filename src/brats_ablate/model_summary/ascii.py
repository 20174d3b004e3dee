"""A drawing of a composed network in text, from the shapes that really passed through it: to be held against Fig. 2.

A network with an encoder and a decoder list of levels is drawn as a U, one resolution a row; any other as the list of
its parts.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from brats_ablate.model_summary.counts import Passed, Shape

_SUPERSCRIPT = {1: "1³", 2: "2³", 3: "3³", 5: "5³", 7: "7³"}


def draw(passed: Sequence[Passed], input_shape: Shape) -> str:
    """The drawing, without a trailing newline.

    Args:
        passed: what `counts.count` recorded of the network.
        input_shape: (B, C, X, Y, Z).
    """
    head = f"input  {input_shape[1]} × {resolution(input_shape)}"
    levels = _levels(passed)
    return "\n".join([head, *(_u_shape(levels, passed) if levels else _parts(passed))])


def resolution(shape: Shape) -> str:
    """`128³` for a cube, else `64×64×128`, of the spatial part of (B, C, X, Y, Z)."""
    spatial = shape[2:]
    if len(spatial) == 3 and len(set(spatial)) == 1:
        return f"{spatial[0]}³"
    return "×".join(str(s) for s in spatial)


def _levels(passed: Sequence[Passed]) -> list[tuple[Passed, Passed | None]]:
    """(encoder level, decoder level of the same resolution or None at the bottom), finest first; [] for no U-Net."""
    by_name = {p.name: p for p in passed}
    down = [by_name[name] for i in range(len(passed)) if (name := f"encoder.{i}") in by_name]
    up = [by_name[name] for i in range(len(passed)) if (name := f"decoder.{i}") in by_name]
    if not up or len(up) != len(down) - 1:
        return []
    return list(zip(down, [*up, None], strict=True))


def _u_shape(levels: Sequence[tuple[Passed, Passed | None]], passed: Sequence[Passed]) -> list[str]:
    heads = {p.inputs[0]: p for p in passed if p.name.startswith("heads.") and p.name.count(".") == 1}
    rows = [("level", "resolution", "encoder", "", "decoder", "head")]
    for number, (down, up) in enumerate(levels, start=1):
        shape = down.outputs[0]
        row = (str(number), resolution(shape), ", ".join(layers_of(down, passed)))
        if up is None:
            rows.append((*row, "bottom", "", ""))
            continue
        skip = f"─ {gate_of(up, passed) or 'skip'} ▸"
        head = heads.get(up.outputs[0])
        rows.append((*row, skip, ", ".join(layers_of(up, passed)), convolution(head) if head else ""))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def gate_of(level: Passed, passed: Sequence[Passed]) -> str | None:
    """What the skip into decoder level `level` passes through; None where that is nothing."""
    gate = next((p for p in passed if p.name == f"{level.name}.gate"), None)
    gated = gate is not None and any(True for _ in gate.module.parameters())
    return type(gate.module).__name__ if gate is not None and gated else None


def layers_of(level: Passed, passed: Sequence[Passed]) -> list[str]:
    """The convolutions below `level` in the order in which they ran, and what acts between them; at most four."""
    inside = [p for p in passed if p.name.startswith(f"{level.name}.") and not p.name.startswith(f"{level.name}.gate")]
    layers = []
    for part in inside:
        if isinstance(part.module, nn.Conv3d | nn.ConvTranspose3d):
            beside = "+ " if ".shortcut" in part.name else ""
            layers.append(beside + convolution(part))
        elif type(part.module).__name__.startswith("DropBlock"):
            layers[-1] += " drop"
    if len(layers) > 4:
        layers = [*layers[:2], f"… {len(layers) - 3} more", layers[-1]]
    return layers


def convolution(part: Passed) -> str:
    """`3³/2 32→64`: kernel, stride, channels of a (transposed) convolution."""
    module = part.module
    assert isinstance(module, nn.Conv3d | nn.ConvTranspose3d)
    edge, stride = module.kernel_size[0], module.stride[0]
    kernel = _SUPERSCRIPT.get(edge, f"{edge}³") if len(set(module.kernel_size)) == 1 else str(module.kernel_size)
    up = "up " if isinstance(module, nn.ConvTranspose3d) else ""
    by_stride = f"/{stride}" if stride > 1 and not up else ""
    groups = f" in {module.groups} groups" if module.groups > 1 else ""
    return f"{up}{kernel}{by_stride} {module.in_channels}→{module.out_channels}{groups}"


def _parts(passed: Sequence[Passed]) -> list[str]:
    """One row per part of the network."""
    rows = [("part", "is a", "parameters", "in", "out")]
    for part in top_parts(passed):
        inputs, outputs = _with_channels_each(part.inputs), _with_channels_each(part.outputs)
        rows.append((part.name, type(part.module).__name__, parameters_of(part), inputs, outputs))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def top_parts(passed: Sequence[Passed]) -> list[Passed]:
    """What has parameters on the first level of the module tree that has several parts, in the order of the pass."""
    depth = next((d for d in range(1, 6) if len(_at_depth(passed, d)) > 1), 1)
    return [p for p in _at_depth(passed, depth) if any(True for _ in p.module.parameters())]


def parameters_of(part: Passed) -> str:
    """`0.031 M`."""
    return f"{sum(p.numel() for p in part.module.parameters()) / 1e6:.3f} M"


def _at_depth(passed: Sequence[Passed], depth: int) -> list[Passed]:
    """What passed at `depth` of the module tree; list containers, which are not called, do not count as a level."""
    called = {p.name for p in passed}

    def depth_of(name: str) -> int:
        pieces = name.split(".")
        return sum(".".join(pieces[: i + 1]) in called for i in range(len(pieces)))

    return [p for p in passed if depth_of(p.name) == depth]


def with_channels(shape: Shape) -> str:
    """`32 × 128³` of (B, C, X, Y, Z); `512×768` of tokens."""
    if len(shape) == 5:
        return f"{shape[1]} × {resolution(shape)}"
    return "×".join(str(s) for s in shape[1:])


def _with_channels_each(shapes: Sequence[Shape]) -> str:
    return " + ".join(with_channels(s) for s in shapes[:3]) + (" + …" if len(shapes) > 3 else "")
