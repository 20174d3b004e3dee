"""A run that SIGTERM interrupts and the same command resumes, against one that is not interrupted."""

from __future__ import annotations

from typing import Any

import torch

from gpu_stages.common import Options, command, relative_error

CASES = (("as_usual", []), ("deterministic", ["trainer.deterministic=true"]))


def measure(options: Options, words: list[str]) -> dict[str, Any]:
    """Return whether the weights are equal bit for bit, or by how much they differ, also of two equal runs."""
    found: dict[str, Any] = {"ok": True}
    for name, more in CASES:
        run = [
            *("+experiment=dropblock", "trainer.epochs=3", "trainer.validate_every=3", "inference=whole_volume"),
            *(f"trainer.crops_per_case={2 if options.tiny else 8}", "trainer.compile=false", *more),
        ]
        works = {kind: f"resume_{name}_{kind}" for kind in ("straight", "again", "broken")}
        codes = [command(options, works["straight"], *run)]
        codes += [command(options, works["broken"], *run, terminate_after="epoch 1/")]
        codes += [command(options, works["broken"], *run)]
        if codes[0][0] or codes[2][0]:
            said = codes[0][1] if codes[0][0] else codes[2][1]
            found |= {"ok": False, name: {"codes": [code for code, _, _ in codes], "said": said[-600:]}}
            continue
        found[name] = {"interrupted_with": codes[1][0]} | _difference(options, works["straight"], works["broken"])
        if not found[name]["bit_for_bit"]:
            command(options, works["again"], *run)
            found[name]["two_uninterrupted"] = _difference(options, works["straight"], works["again"])
    found["ok"] &= bool(found.get("deterministic", {}).get("bit_for_bit"))
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
