"""The training step and the forward pass of the paper's baseline U-Net, each setting in processes of its own.

The allocator's setting (`runtime/memory.py`) is granted to every contender, and every one is measured without it
too. On a GPU the contenders are compared at batch 1, 2 and 4, compiled and not, in both memory layouts.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from measuring import Claim, Options, Row, Table, isolated
from networks import MONAI, NNUNET, OURS

NVIDIA_A100_IMAGES_PER_S = {1: 24.6, 2: 27.5, 4: 30.0}
"""NVIDIA's nnU-Net for PyTorch, 3-D, 128³, A100 with AMP, training (its published performance table)."""

_FP32_PEER = f"{NNUNET}, fp32 (its default)"


def measure(options: Options) -> list[Table]:
    """Step and forward tables."""
    import torch

    return _on_gpu(options) if torch.cuda.is_available() else _on_cpu(options)


def _on_cpu(options: Options) -> list[Table]:
    base = {"batch": 1, "patch": options.patch, "compiled": False}
    fast = base | {"precision": "bf16", "channels_last": True}
    settings: dict[str, dict[str, Any]] = {
        _FP32_PEER: base | {"network": NNUNET, "precision": "fp32", "channels_last": False},
        f"{NNUNET}, bf16 + channels_last": fast | {"network": NNUNET},
        f"{MONAI}, bf16 + channels_last": fast | {"network": MONAI},
        "ours with torch's instance norm": fast | {"network": OURS, "native_norm": True},
        "ours, bf16 + channels_last": fast | {"network": OURS},
    }
    both = {
        f"{name}{', memory kept' if kept else ''}": setting | {"keep_memory": kept}
        for name, setting in settings.items()
        for kept in (False, True)
    }
    found = _in_turns(both, options.rounds)
    what = f"baseline U-Net, {options.patch}³, batch 1, CPU"
    return [
        _table(f"Training step, {what}", found, "step_s", (5.0, 1.7, 1.6)),
        _table(f"Forward pass, {what}", found, "forward_s", (5.0, 1.7, 1.6)),
    ]


def _table(title: str, found: dict[str, list[dict[str, Any]]], figure: str, targets: tuple[float, ...]) -> Table:
    ours = "ours, bf16 + channels_last"
    peers = zip((_FP32_PEER, f"{NNUNET}, bf16 + channels_last", f"{MONAI}, bf16 + channels_last"), targets, strict=True)
    claims = []
    for peer, target in peers:
        claims.append(Claim(f"{peer}, memory kept by both", f"{ours}, memory kept", f"{peer}, memory kept", target))
        claims.append(Claim(f"{peer} as it comes, ours as it trains", f"{ours}, memory kept", peer, target))
    claims.append(Claim("the allocator's share, ours", f"{ours}, memory kept", ours))
    claims.append(
        Claim("the instance norm's share, ours", f"{ours}, memory kept", "ours with torch's instance norm, memory kept")
    )
    rows = [Row(name, [f[figure] for f in answers], _memory(answers)) for name, answers in found.items()]
    return Table(title, "s", rows, claims, note=_NOTE)


_NOTE = (
    "Mixed precision where not fp32, each library's own optimiser, one loss for all. Without “memory kept” glibc "
    "returns freed memory to the kernel, its default; our training keeps it."
)


def _on_gpu(options: Options) -> list[Table]:
    tables = []
    for batch in (1,) if options.quick else (1, 2, 4):
        settings: dict[str, dict[str, Any]] = {}
        for network, last, compiled in product((NNUNET, MONAI, OURS), (False, True), (False, True)):
            if network == OURS and not last:
                continue
            name = f"{network}{', channels_last' if last else ''}{', compiled' if compiled else ''}"
            settings[name] = {
                "network": network,
                "precision": "auto",
                "channels_last": last,
                "compiled": compiled,
                "keep_memory": True,
                "batch": batch,
                "patch": options.patch,
            }
        found = _in_turns(settings, options.rounds)
        what = f"baseline U-Net, {options.patch}³, batch {batch}, GPU, AMP"
        for title, figure in ((f"Training step, {what}", "step_s"), (f"Forward pass, {what}", "forward_s")):
            tables.append(_gpu_table(title, found, figure, batch))
    return tables


def _gpu_table(title: str, found: dict[str, list[dict[str, Any]]], figure: str, batch: int) -> Table:
    """Our best setting against the compiled, contiguous default of nnU-Net and each peer's best setting."""
    rows = [Row(name, [f[figure] for f in answers], _memory(answers)) for name, answers in found.items()]
    best = {
        n: min((r for r in rows if r.name.startswith(n)), key=lambda r: r.median).name for n in (NNUNET, MONAI, OURS)
    }
    claims = [
        Claim("nnU-Net v2 compiled, its default", best[OURS], f"{NNUNET}, compiled", 1.3),
        Claim("nnU-Net v2 in its best setting", best[OURS], best[NNUNET]),
        Claim("MONAI in its best setting", best[OURS], best[MONAI], 1.3),
    ]
    ours = next(r for r in rows if r.name == best[OURS])
    note = f"Ours: {batch / ours.median:.1f} images/s; NVIDIA publishes {NVIDIA_A100_IMAGES_PER_S[batch]} on an A100."
    return Table(title, "s", rows, claims, note=note if figure == "step_s" else "")


def _in_turns(settings: dict[str, dict[str, Any]], rounds: int) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in settings}
    order = list(settings)
    for _ in range(rounds):
        for name in order:
            found[name].append(isolated("one_step", settings[name]))
            print(f"  {name}: {found[name][-1]['step_s']:.3f} s", flush=True)
        order.reverse()
    return found


def _memory(answers: list[dict[str, Any]]) -> dict[str, str]:
    return {"memory GiB": f"{max(a['memory_gib'] for a in answers):.1f}"}
