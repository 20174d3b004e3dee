"""Prediction of one case with the paper's eight flips by our sliding window, MONAI's and nnU-Net's predictor.

Each runs in its own process. Our window and MONAI's run the same network, so that their ratio compares the windows.
nnU-Net's predictor runs nnU-Net's network of the same width in its own settings (fp32 on a CPU, autocast on a GPU), with
and without glibc's memory trimming. All networks have the size of the paper's baseline. On a CPU there is only one round,
which takes ten minutes.
"""

from __future__ import annotations

from typing import Any

from dataset import Dataset
from measuring import NO_TRIM, Comparison, Options, Row, Table, interleave_isolated
from networks import NNUNET, OURS

WINDOW, WHOLE = "our sliding window, our network", "ours, whole volume per flip (inference=whole_volume)"
MONAI, PEER = "MONAI's inferer, our network", "nnU-Net v2's predictor and network, its own settings"


def measure(options: Options) -> list[Table]:
    """Measure the prediction of one case: one table."""
    import torch

    assert Dataset(options).store.case_ids  # prepares the cases before the subprocesses start
    ways = {
        WINDOW: {"way": "ours", "network": OURS, "precision": "auto"},
        WHOLE: {"way": "whole_volume", "network": OURS, "precision": "auto"},
        MONAI: {"way": "monai", "network": OURS, "precision": "auto"},
        PEER: {"way": "nnunet", "network": NNUNET, "precision": "fp32", "keep_memory": False},
        PEER + NO_TRIM: {"way": "nnunet", "network": NNUNET, "precision": "fp32"},
    }
    case = interleaved(ways, options, options.rounds if torch.cuda.is_available() else 1)
    shape = "×".join(str(s) for s in next(iter(case.values()))[0]["shape"])
    note = "Memory is the increase during prediction: results, windows and activations of the network."
    return [
        Table(
            f"One case of {shape} with 8 flips, windows of {options.patch}³, the paper's baseline network",
            "s",
            [Row(name, [r["seconds"] for r in results], memory(results)) for name, results in case.items()],
            [
                Comparison("MONAI's inferer, same network", WINDOW, MONAI),
                Comparison(f"{PEER}{NO_TRIM} for both", WINDOW, PEER + NO_TRIM),
                Comparison(f"{PEER}, default allocator (ours: trimming disabled)", WINDOW, PEER),
                Comparison("our sliding window (ours: whole volume per flip)", WHOLE, WINDOW),
            ],
            note=note,
        ),
    ]


def interleaved(ways: dict[str, dict[str, Any]], options: Options, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Run `one_case` in each of the `ways`, interleaved over the rounds, each in its own process."""
    request = options.as_request() | {"width": 0.25 if options.quick else 1.0, "keep_memory": True}
    requests = {name: request | way for name, way in ways.items()}
    return interleave_isolated("one_case", requests, rounds, shown="seconds")


def memory(results: list[dict[str, Any]]) -> dict[str, str]:
    """Format the memory column of the results of `one_case`."""
    return {"memory GiB": f"{max(r['memory_gib'] for r in results):.2f}"}
