"""One whole case with the paper's eight flips: our window, MONAI's and nnU-Net's predictor, each in its own process.

The first two run the same network, ours, so that their ratio is the window's; nnU-Net's predictor runs nnU-Net's
network of the same width in its own setting (fp32 on a CPU, autocast on a GPU), with freed memory kept as our prediction
keeps it, and as it comes. The networks are the paper's baseline in full; one round on a CPU, where it takes ten minutes.
"""

from __future__ import annotations

from typing import Any

from material import Material
from measuring import Claim, Options, Row, Table, isolated
from networks import NNUNET, OURS

WINDOW, WHOLE = "our window, our network", "ours, whole volume per flip (inference=whole_volume)"
MONAI, PEER = "MONAI's inferer, our network", "nnU-Net v2's predictor and network, its own setting"
PEER_KEPT = f"{PEER}, memory kept"


def measure(options: Options) -> list[Table]:
    """One table."""
    import torch

    assert Material(options).store.case_ids  # prepared before the first process asks for it
    ways = {
        WINDOW: {"way": "ours", "network": OURS, "precision": "auto"},
        WHOLE: {"way": "whole_volume", "network": OURS, "precision": "auto"},
        MONAI: {"way": "monai", "network": OURS, "precision": "auto"},
        PEER: {"way": "nnunet", "network": NNUNET, "precision": "fp32", "keep_memory": False},
        PEER_KEPT: {"way": "nnunet", "network": NNUNET, "precision": "fp32"},
    }
    case = in_turns(ways, options, options.rounds if torch.cuda.is_available() else 1)
    shape = "×".join(str(s) for s in next(iter(case.values()))[0]["shape"])
    note = "Memory is what the prediction adds to the process: results, windows and the network's activations."
    return [
        Table(
            f"One case of {shape} with 8 flips, windows of {options.patch}³, the paper's baseline network",
            "s",
            [Row(name, [a["seconds"] for a in answers], memory(answers)) for name, answers in case.items()],
            [
                Claim("MONAI's inferer, the same network", WINDOW, MONAI, 0.97),
                Claim("nnU-Net v2's predictor in its own setting, memory kept by both", WINDOW, PEER_KEPT, 2.0),
                Claim("nnU-Net v2's predictor in its own setting as it comes", WINDOW, PEER, 2.0),
                Claim("the sliding window, against one padded forward per flip", WHOLE, WINDOW),
            ],
            note=note,
        ),
    ]


def in_turns(ways: dict[str, dict[str, Any]], options: Options, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """The answers of `one_case` in each of the `ways`, round by round, each in a process of its own."""
    told = options.as_request() | {"width": 0.25 if options.quick else 1.0, "keep_memory": True}
    del told["rounds"]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    order = list(ways)
    for _ in range(rounds):
        for name in order:
            found[name].append(isolated("one_case", told | ways[name]))
            print(f"  {name}: {found[name][-1]['seconds']:.2f} s", flush=True)
        order.reverse()
    return found


def memory(answers: list[dict[str, Any]]) -> dict[str, str]:
    """The extra column of such answers."""
    return {"memory GiB": f"{max(a['memory_gib'] for a in answers):.2f}"}
