"""Training step and forward pass of the paper's baseline U-Net, each setting in its own process.

On a CPU, every candidate is measured with and without glibc's memory trimming (`runtime/memory.py`). On a GPU, the
candidates are compared with batch sizes 1, 2 and 4, compiled and not, in both memory layouts.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from measuring import NO_TRIM, Comparison, Options, Row, Table, run_isolated, with_and_without_trimming
from networks import MONAI, NNUNET, OURS

NVIDIA_A100_IMAGES_PER_S = {1: 24.6, 2: 27.5, 4: 30.0}
"""Published training performance of NVIDIA's nnU-Net for PyTorch: 3-D, 128³, A100, AMP."""

_FP32_PEER = f"{NNUNET}, fp32 (its default)"
_OURS = "ours, bf16 + channels_last"
_NATIVE_NORM = "ours with torch's instance norm"


def measure(options: Options) -> list[Table]:
    """Measure the step and the forward pass: one table each."""
    import torch

    return _on_gpu(options) if torch.cuda.is_available() else _on_cpu(options)


def _on_cpu(options: Options) -> list[Table]:
    base = {"batch": 1, "patch": options.patch, "compiled": False}
    fast = base | {"precision": "bf16", "channels_last": True}
    settings: dict[str, dict[str, Any]] = {
        _FP32_PEER: base | {"network": NNUNET, "precision": "fp32", "channels_last": False},
        f"{NNUNET}, bf16 + channels_last": fast | {"network": NNUNET},
        f"{MONAI}, bf16 + channels_last": fast | {"network": MONAI},
        _NATIVE_NORM: fast | {"network": OURS, "native_norm": True},
        _OURS: fast | {"network": OURS},
    }
    both = {
        f"{name}{NO_TRIM if kept else ''}": setting | {"keep_memory": kept}
        for name, setting in settings.items()
        for kept in (False, True)
    }
    results = _interleaved(both, options.rounds)
    what = f"baseline U-Net, {options.patch}³, batch 1, CPU"
    return [
        _table(f"Training step, {what}", results, "step_s"),
        _table(f"Forward pass, {what}", results, "forward_s"),
    ]


def _table(title: str, results: dict[str, list[dict[str, Any]]], key: str) -> Table:
    ours = _OURS + NO_TRIM
    comparisons = []
    for peer in (_FP32_PEER, f"{NNUNET}, bf16 + channels_last", f"{MONAI}, bf16 + channels_last"):
        comparisons += with_and_without_trimming(peer, _OURS)
    comparisons.append(Comparison("ours with the default allocator", ours, _OURS))
    comparisons.append(Comparison(_NATIVE_NORM + NO_TRIM, ours, _NATIVE_NORM + NO_TRIM))
    rows = [Row(name, [r[key] for r in rounds], _memory(rounds)) for name, rounds in results.items()]
    return Table(title, "s", rows, comparisons, note=_NOTE)


_NOTE = (
    "Mixed precision unless fp32, the optimizer of each library, the same loss for all. By default glibc returns freed "
    "memory to the kernel (trimming). The training of this project disables trimming."
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
        results = _interleaved(settings, options.rounds)
        what = f"baseline U-Net, {options.patch}³, batch {batch}, GPU, AMP"
        for title, key in ((f"Training step, {what}", "step_s"), (f"Forward pass, {what}", "forward_s")):
            tables.append(_gpu_table(title, results, key, batch))
    return tables


def _gpu_table(title: str, results: dict[str, list[dict[str, Any]]], key: str, batch: int) -> Table:
    """Compare our best setting with the compiled default of nnU-Net and the best setting of each peer."""
    rows = [Row(name, [r[key] for r in rounds], _memory(rounds)) for name, rounds in results.items()]
    best = {
        n: min((r for r in rows if r.name.startswith(n)), key=lambda r: r.median).name for n in (NNUNET, MONAI, OURS)
    }
    comparisons = [
        Comparison("nnU-Net v2, compiled (its default)", best[OURS], f"{NNUNET}, compiled"),
        Comparison("nnU-Net v2, best setting", best[OURS], best[NNUNET]),
        Comparison("MONAI, best setting", best[OURS], best[MONAI]),
    ]
    ours = next(r for r in rows if r.name == best[OURS])
    note = f"Ours: {batch / ours.median:.1f} images/s; NVIDIA publishes {NVIDIA_A100_IMAGES_PER_S[batch]} on an A100."
    return Table(title, "s", rows, comparisons, note=note if key == "step_s" else "")


def _interleaved(settings: dict[str, dict[str, Any]], rounds: int) -> dict[str, list[dict[str, Any]]]:
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in settings}
    order = list(settings)
    for _ in range(rounds):
        for name in order:
            results[name].append(run_isolated("one_step", settings[name]))
            print(f"  {name}: {results[name][-1]['step_s']:.3f} s", flush=True)
        order.reverse()
    return results


def _memory(results: list[dict[str, Any]]) -> dict[str, str]:
    return {"memory GiB": f"{max(a['memory_gib'] for a in results):.1f}"}
