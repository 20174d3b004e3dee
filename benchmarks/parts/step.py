"""Training step and forward pass of the paper's baseline U-Net, each setting in its own process.

On a CPU, every candidate is measured with and without glibc's memory trimming (`runtime/memory.py`). On a GPU, each
library has the settings of its own trainer, compiled and not.
"""

from __future__ import annotations

from typing import Any

from measuring import (
    NO_TRIM,
    Comparison,
    Options,
    Row,
    Table,
    interleave_isolated,
    run_isolated,
    with_and_without_trimming,
)
from networks import MONAI, NNUNET, OURS

NVIDIA_A100_IMAGES_PER_S = 27.5
"""Published training performance of NVIDIA's nnU-Net for PyTorch: 3-D, 128³, batch 2, A100, AMP."""

_OURS_COMPILED = "ours, compiled"
_GPU_CONTENDERS = {
    _OURS_COMPILED: ["ours", "compiled"],
    "ours": ["ours"],
    f"{NNUNET}, compiled (its default)": ["nnunet", "compiled"],
    NNUNET: ["nnunet"],
    f"{MONAI}, compiled": ["monai", "compiled"],
    MONAI: ["monai"],
}

_FP32_PEER = f"{NNUNET}, fp32 (its default)"
_OURS = "ours, bf16 + channels_last"
_NATIVE_NORM = "ours with torch's instance norm"


def measure(options: Options) -> list[Table]:
    """Measure the step and the forward pass: one table each."""
    import torch

    return _on_gpu(options) if torch.cuda.is_available() else _on_cpu(options)


def _on_cpu(options: Options) -> list[Table]:
    base = {"batch": 1, "patch": options.patch}
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
    results = interleave_isolated("one_step", both, options.rounds, shown="step_s")
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
    """Measure each contender of `gpu_stages.step` in its own process; one that fails leaves the others' results."""
    import torch

    card, results = torch.cuda.get_device_name(), {}
    for name, words in _GPU_CONTENDERS.items():
        try:
            found = run_isolated("gpu_stages.step", {"words": words, "tiny": options.quick})
        except RuntimeError as error:
            print(f"  {name} failed: {str(error).splitlines()[-1]}", flush=True)
            continue
        if "skipped" in found:
            print(f"  {name}: skipped, {found['skipped']}", flush=True)
            continue
        results[name] = found
        print(f"  {name}: {found['step_ms']:.2f} ms", flush=True)
    what = f"baseline U-Net, {options.patch}³, batch 2, {card}"
    note = "nnU-Net has the settings of its trainer: fp16 with loss scaling, clipping at norm 12, contiguous layout."
    if "A100" in card:
        note += f" NVIDIA publishes {NVIDIA_A100_IMAGES_PER_S} images/s for its nnU-Net on an A100."
    tables = []
    for title, key in ((f"Training step, {what}", "step_ms"), (f"Forward pass, {what}", "forward_ms")):
        measured = {name: found for name, found in results.items() if key in found}  # not the forward pass, if quick
        rows = [Row(n, [found[key]], {"memory GiB": f"{found['peak_gib']:.2f}"}) for n, found in measured.items()]
        peers = [name for name in measured if "ours" not in name] if _OURS_COMPILED in measured else []
        comparisons = [Comparison(peer, _OURS_COMPILED, peer) for peer in peers]
        tables += [Table(title, "ms", rows, comparisons, note=note)] if rows else []
    return tables


def _memory(results: list[dict[str, Any]]) -> dict[str, str]:
    return {"memory GiB": f"{max(a['memory_gib'] for a in results):.1f}"}
