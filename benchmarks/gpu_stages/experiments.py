"""Every experiment of the command line, or every fourth if it is tiny: one AMP step as trained, its loss, time and memory.

`experiments compiled` compiles the forward and the backward of as many as the budget and its limit allow; experiments
of one network share its kernels. All are in the precision that `auto` chooses.
"""

from __future__ import annotations

import math
import time
from typing import Any

from gpu_stages.common import (
    EXPERIMENTS_S,
    ROOT,
    Options,
    batch_of,
    build,
    compose,
    milliseconds,
    peak_gib,
    step_of,
)

_COMPILED_S, _EAGER_S = 60, 15
"""The longest that one network takes."""


def measure(options: Options, words: list[str]) -> dict[str, Any]:
    """Return loss, milliseconds per step and GiB of each experiment."""
    found: dict[str, Any] = {"ok": True}
    compiled, ends = "compiled" in words, min(options.until, time.time() + EXPERIMENTS_S)
    names = sorted(file.stem for file in (ROOT / "conf" / "experiment").glob("*.yaml"))
    if options.tiny:
        names = ["baseline"] if compiled else names[::4]
    for i, name in enumerate(names):
        if time.time() + (_COMPILED_S if compiled else _EAGER_S) > ends:
            return found | {"left_out": names[i:]}
        try:
            found[name] = measure_one(options, name, compiled=compiled)
            found["ok"] &= math.isfinite(found[name]["loss"]) and "without_gradient" not in found[name]
            found["ok"] &= found[name].get("is_compiled", True)
        except Exception as error:  # one that fails must not hide the others
            found[name] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:150]}"
            found["ok"] = False
        options.keep(found)
    return found


def measure_one(options: Options, name: str, *, compiled: bool) -> dict[str, Any]:
    """Return time, memory and loss of one step of an experiment."""
    from brats_ablate.models.compilation import CompiledNetwork
    from brats_ablate.runtime.memory import reset_peak_memory

    experiment = f"+experiment={name}"
    cfg = compose(experiment, *(_least(experiment, compiled) if options.tiny else []))
    reset_peak_memory(options.device)
    model, precision = build(options, cfg)
    model.train()
    network = CompiledNetwork(model) if compiled else model
    step = step_of(cfg, model, precision, network)
    images, labels = batch_of(options, cfg, 1 if options.tiny else 2)
    started = time.perf_counter()
    found: dict[str, Any] = {"loss": round(float(step(images, labels)), 3)}
    if isinstance(network, CompiledNetwork):
        found |= {"first_step_s": round(time.perf_counter() - started, 1), "is_compiled": network.is_compiled}
    idle = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    if not options.tiny:
        found["ms"] = round(milliseconds(lambda: step(images, labels), 4, 1), 1)
    found["gib"] = peak_gib()
    return found | ({"without_gradient": idle[:3]} if idle else {})


def _least(experiment: str, compiled: bool) -> list[str]:
    """Return the overrides of a thin network and of its least patch: one voxel at the bottom, two along Z.

    To compile all levels for a CPU takes most of a minute, so that a compiled network has two.
    """
    if compiled:
        return ["encoder.channels=[8,16]", "patches.shape=[16,16,16]"]
    edge = 2 ** (len(compose(experiment).encoder.channels) - 1)
    return ["encoder.width=0.0625", f"patches.shape=[{edge},{edge},{2 * edge}]"]
