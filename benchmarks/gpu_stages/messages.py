"""What a user is told: no GPU, more ranks than GPUs, a batch that does not fit."""

from __future__ import annotations

import os
from typing import Any
from unittest.mock import patch

from gpu_stages.common import Options, command

RUN = ("+experiment=baseline", "trainer.epochs=1", "inference=whole_volume", "trainer.compile=false")


def measure(options: Options, words: list[str]) -> dict[str, Any]:
    """Return exit codes and last lines; `ok` if each fails in the sentence for it."""
    wrong: dict[str, tuple[list[str], str]] = {
        "more ranks than GPUs": (["trainer.devices=64", "trainer.ranks=64"], "64")
    }
    if options.on_gpu:
        # Either sentence about a lack of memory ends in this remedy.
        wrong["out of memory"] = (["trainer.batch_size=160", "trainer.crops_per_case=80"], "model.checkpointing=true")
    found: dict[str, Any] = {"ok": True}
    for name, (more, expected) in wrong.items():
        more = [*more, "trainer.device=cuda"]
        code, said, _ = command(options, f"messages_{len(found)}", *RUN, *more, limit_s=60)
        last = (said.strip().splitlines() or [""])[-1]
        found[name] = [code, last[:300]]
        found["ok"] &= code not in (0, 124) and (expected in last or not options.on_gpu)
        options.keep(found)
    with patch.dict(os.environ, CUDA_VISIBLE_DEVICES=""):
        code, said, _ = command(options, "messages_none", *RUN, "trainer.device=cuda", limit_s=60)
    found["no GPU"] = [code, (said.strip().splitlines() or [""])[-1][:300]]
    found["ok"] &= code not in (0, 124) and "trainer.device=cuda" in said and "Traceback" not in said
    return found
