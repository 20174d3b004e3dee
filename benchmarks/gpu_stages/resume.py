"""A run that SIGTERM interrupts and the same command resumes, against one that is not interrupted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from gpu_stages.common import Options, command, relative_error

CASES: dict[str, list[str]] = {"as_usual": [], "deterministic": ["trainer.deterministic=true"]}


def measure(options: Options, words: list[str]) -> dict[str, Any]:
    """Return whether the weights are equal bit for bit, or by how much they differ, also of two uninterrupted runs."""
    with ThreadPoolExecutor(2) as threads:
        found = dict(zip(CASES, threads.map(lambda name: _compare(options, name), CASES), strict=True))
    return found | {
        "ok": all("largest_difference" in f for f in found.values()) and found["deterministic"]["bit_for_bit"]
    }


def _compare(options: Options, name: str) -> dict[str, Any]:
    run = [
        *("+experiment=dropblock", "trainer.epochs=2", "validation.every=2", "inference=whole_volume"),
        *(f"trainer.crops_per_case={1 if options.tiny else 8}", "trainer.compile=false", *CASES[name]),
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
