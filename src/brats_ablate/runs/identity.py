"""The identity of a run: the part of its configuration that can change its result.

Paths, tracking, the device and the number of threads can differ between two starts of the same run. Post-processing
and test-time augmentation come after training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.runs.renamed import with_first_names
from brats_ablate.runtime.files import to_json

TRAINING_GROUPS = (
    *("inputs", "patches", "augment", "encoder", "model", "supervision", "loss", "auxiliary"),
    *("optimizer", "schedule", "validation", "trainer"),
)
"""Configuration groups that define a training run; `data` and `inference` count in part."""
COORDINATES = frozenset({"fold", "lr", "seed", "name"})
"""Keys of an identity that are the place of the run, too: the runs of one table always differ in them."""
INITIAL_WEIGHTS = "init.checksum"
EXECUTION_KEYS = {
    *("trainer.device", "trainer.devices", "trainer.loader_threads", "trainer.compile", "trainer.progress"),
    *("trainer.checkpoint_minutes", "trainer.hang_minutes", "trainer.keep_freed_memory", "trainer.validate_untrained"),
    *("model.checkpointing", "trainer.deterministic", "trainer.profile", "trainer.detect_anomaly"),
}
_ADDED: Mapping[str, object] = MappingProxyType(
    {
        "inputs.modalities": None,
        "trainer.ranks": 1,
        "trainer.repeat_first_batch": False,
        "model.drop_stages": 3,
        "model.upsample._target_": "brats_ablate.models.upsample.Upsample",
        "model.upsample._partial_": True,
        "supervision.upsampling": "nearest",
        "inference.average": "probabilities",
        "data.spacing": None,
        "validation._target_": "brats_ablate.training.validation_schedule.ValidationSchedule",
        "validation.final_every": None,
        "data.fraction": 1.0,
        INITIAL_WEIGHTS: None,
    }
)
"""Keys that earlier versions lacked, with the value that they behaved by: left out at that value, so that the
identities of earlier runs stay valid."""
_DATA = ("name", "n_folds", "fold_seed")


def identity(configuration: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a resolved configuration that identifies a run, as a flat dict of dotted keys."""
    tree = with_first_names(configuration)
    assert isinstance(tree, dict), "resolve the configuration first"
    kept: dict[str, Any] = {key: tree[key] for key in (*TRAINING_GROUPS, *COORDINATES) if key != "validation"}
    if "validation" in tree:  # earlier versions had its first key in the trainer, where identities have it still
        kept["validation"] = dict(tree["validation"])
        kept["trainer"] = tree["trainer"] | {"validate_every": kept["validation"].pop("every", None)}
    spacing = tree["data"].get("spacing")
    kept["data"] = {key: tree["data"][key] for key in _DATA} | _files_and_labels(tree)
    kept["data"]["spacing"] = None if spacing is None else [float(edge) for edge in spacing]
    kept["data"]["fraction"] = float(tree["data"].get("fraction", 1))
    init = tree.get("init") or {}
    assert (init.get("checkpoint") is None) == (init.get("checksum") is None), "call use_initial_weights first"
    kept["init"] = {"checksum": init.get("checksum")}  # of the weights, wherever they are
    inference = tree["inference"]  # validation chooses the checkpoints
    kept["inference"] = {"window": inference["window"], "average": inference.get("average", "probabilities")}
    flat = {k: v for k, v in sorted(flattened(kept).items()) if k not in EXECUTION_KEYS}
    return {k: v for k, v in flat.items() if k not in _ADDED or v != _ADDED[k]}


def _files_and_labels(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return layout and labels by the keys and values of version 0.1, which had a name for each."""
    layout = tree["data"]["layout"]
    name = layout if isinstance(layout, str) else layout["name"]
    return {"layout": name, "convention": LabelScheme.of_run(tree).key}


def recorded_regions(flat: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the regions that a run of this identity is scored on; None where it names no labels that are known."""
    convention, start = flat.get("data.convention"), "data.convention.regions."
    if isinstance(convention, str):
        try:
            return frozenset(LabelScheme.named_before(convention).regions)
        except KeyError:
            return None
    return frozenset(key.removeprefix(start) for key in flat if key.startswith(start)) or None


def config_hash(flat: dict[str, Any]) -> str:
    """Return a short hash of an identity."""
    return hashlib.sha256(to_json(flat, sort_keys=True).encode()).hexdigest()[:16]


def differences(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return each differing key as "key: recorded -> wanted", sorted."""
    keys = sorted(recorded.keys() | wanted.keys())
    pairs = [(k, *(each.get(k, _ADDED.get(k, "(absent)")) for each in (recorded, wanted))) for k in keys]
    return [f"{k}: {a} -> {b}" for k, a, b in pairs if a != b]


def flattened(node: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested keys as dotted ones."""
    if not isinstance(node, dict) or not node:
        return {prefix: node}
    below = [flattened(value, f"{prefix}.{key}" if prefix else str(key)) for key, value in node.items()]
    return {key: value for flat in below for key, value in flat.items()}
