"""A run that SIGTERM interrupts and the same command resumes, against one that is not interrupted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import torch

from gpu_stages.common import Options, command, relative_error

PLAIN, DETERMINISTIC = "trainer.compile=false", "trainer.deterministic=true"
CASES = {"as_usual": [PLAIN], "deterministic": [PLAIN, DETERMINISTIC]}
ON_A_GPU = {"deterministic_compiled": ["trainer.compile=true", DETERMINISTIC]}


def measure(options: Options, words: list[str]) -> dict[str, Any]:
    """Return whether the weights are equal bit for bit, or by how much they differ, also of two uninterrupted runs."""
    cases = CASES | (ON_A_GPU if options.on_gpu else {})
    found: dict[str, Any] = {"ok": True}
    with ThreadPoolExecutor(len(cases)) as threads:
        compared = {threads.submit(_compare, options, name, more): name for name, more in cases.items()}
        for future in as_completed(compared):
            name = compared[future]
            found[name] = result = future.result()
            must_be_equal = DETERMINISTIC in cases[name]
            found["ok"] &= "largest_difference" in result and (result["bit_for_bit"] or not must_be_equal)
            options.keep(found)
    return found


def _compare(options: Options, name: str, more: list[str]) -> dict[str, Any]:
    run = [
        *("+experiment=dropblock", "trainer.epochs=2", "validation.every=2", "inference=whole_volume"),
        *(f"trainer.crops_per_case={1 if options.tiny else 8}", *more),
    ]
    works = {kind: f"resume_{name}_{kind}" for kind in ("straight", "again", "broken")}
    code, said, _ = command(options, works["straight"], *run)
    interrupted, _, _ = command(options, works["broken"], *run, terminate_after="epoch 1/")
    if code == 0:
        code, said, _ = command(options, works["broken"], *run)
    if code:
        return {"code": code, "said": said[-600:]}
    found = {"interrupted_with": interrupted} | _difference(options, works["straight"], works["broken"])
    if not found["bit_for_bit"]:
        command(options, works["again"], *run)
        found["two_uninterrupted"] = _difference(options, works["straight"], works["again"])
    return found


def _difference(options: Options, left: str, right: str) -> dict[str, Any]:
    """Return whether the last weights of two runs are equal, and the largest relative difference of a tensor."""
    first, second = (
        torch.load(next((options.work / work).rglob("last.pt")), map_location="cpu", weights_only=True)["model"]
        for work in (left, right)
    )
    return {
        "bit_for_bit": all(torch.equal(first[name], second[name]) for name in first),
        "largest_difference": max(relative_error(second[name], first[name]) for name in first),
    }
