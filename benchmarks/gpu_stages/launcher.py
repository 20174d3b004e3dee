"""Two short runs by the launcher for several GPUs of one machine."""

from __future__ import annotations

from typing import Any

from gpu_stages.common import Options, command


def measure(options: Options, words: list[str]) -> dict[str, Any]:
    """Return the exit code and what was said."""
    launcher = "local_gpus" if options.on_gpu else "submitit_local"
    run = ["+experiment=baseline,ds", "fold=0", "-m", f"hydra/launcher={launcher}", "trainer.compile=false"]
    short = ["trainer.crops_per_case=2", "trainer.epochs=1", "inference=whole_volume"]
    code, said, seconds = command(options, "launcher", *run, *short, limit_s=120)
    return {"ok": code == 0, "launcher": launcher, "code": code, "seconds": round(seconds), "said": said[-400:]}
