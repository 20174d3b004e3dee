"""Combinations that cannot work, each a small function: resolved configuration in, one sentence out (None: possible).

What a component can do is declared by its class (`size_divisor`, `supports_deep_supervision`, …; see
`models.base.SegmentationModel`) and read from its source, so a class of the user's own is checked like any other. What
a class does not declare in a readable way is not refused here. Components that import nothing heavy are constructed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from brats_ablate.config.source import class_attribute
from brats_ablate.config.trust import is_own_class
from brats_ablate.data.layouts import Layout
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.runtime.text import is_plain_name

Tree = dict[str, Any]
Constraint = Callable[[Tree], str | None]

_PAPER_REGIONS = ("wt", "tc", "et")
"""Regions whose thresholds the options of inference/labels name, for every label scheme."""
_NAME_KEYS = {
    "brats_ablate.jobs.predict.run": "output",
    "brats_ablate.jobs.evaluate.run": "name",
    "brats_ablate.jobs.calibration.run": "predictions",
    "brats_ablate.jobs.pictures.run": "predictions",
}
"""Job -> its key that names what it writes below a folder of `paths`."""
_AVERAGES = ("probabilities", "logits")


def _class_name(node: Tree) -> str:
    return str(node.get("_target_", "")).rsplit(".", maxsplit=1)[-1]


def _is_number(value: Any, *types: type) -> bool:
    return isinstance(value, types) and not isinstance(value, bool)


def _is_spacing(value: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, list) and len(value) == 3 and all(_is_number(v, int, float) and v > 0 for v in value)


def _declared(node: Tree, name: str, default: Any) -> Any:
    """Return what the component of `node` declares as `name`, None if that is unknown; a key of that name wins."""
    return node[name] if name in node else class_attribute(str(node.get("_target_", "")), name, default)


def coordinates(cfg: Tree) -> str | None:
    """Require that fold, learning rate, seed and name identify a run."""
    folds = cfg["data"]["n_folds"]
    if not _is_number(cfg["fold"], int) or not 0 <= cfg["fold"] < folds:
        return f"fold={cfg['fold']} does not exist; choose 0 to {folds - 1} (data.n_folds={folds})"
    if not _is_number(cfg["lr"], int, float) or not 0 < cfg["lr"] < math.inf:
        return f"lr={cfg['lr']} must be a positive number; the paper's are 5e-4, 7e-4, 9e-4"
    if not _is_number(cfg["seed"], int):
        return f"seed={cfg['seed']} must be an integer"
    name = str(cfg["name"])
    key = _NAME_KEYS.get(str(cfg["job"].get("_target_")))
    named = {"name": name} | ({f"job.{key}": str(cfg["job"][key])} if key else {})
    for key, value in named.items():
        if not is_plain_name(value):
            return f"{key}={value!r} must be a plain folder name; letters, digits, - and _ always are"
    return None


def workers(cfg: Tree) -> str | None:
    """Require a process for a job that maps cases over several."""
    number = cfg["job"].get("workers")
    if not _is_number(number, int) or number >= 1:
        return None
    return f"job.workers={number} must be at least 1, or null for one per core"


def data_set(cfg: Tree) -> str | None:
    """Require background, patients and folds that can work."""
    data = cfg["data"]
    if data.get("list") is not None and not str(data["list"]).endswith((".csv", ".json")):
        return f"data.list={data['list']} must be a .csv or .json file; see docs/data.md"
    background, trusted = data.get("background", "auto"), data.get("trust_affine_of")
    if background not in ("auto", "none") and not _is_number(background, int, float):
        return f"data.background={background} must be auto, none (not skull-stripped), or the background's value"
    patient = data.get("patient")
    try:
        re.compile(patient or "")
    except (re.error, TypeError) as error:
        return f"data.patient={patient} is not a regular expression ({error}); an example is 'UPENN-GBM-\\d+'"
    declared = _modalities(cfg)
    if trusted is not None and trusted not in declared:
        return f"data.trust_affine_of={trusted} must be one of {', '.join(declared)}, or null"
    if not _is_spacing(data.get("spacing")):
        return f"data.spacing={data['spacing']} must be three positive numbers (mm), e.g. [1, 1, 1], or null"
    if not _is_number(data["n_folds"], int) or data["n_folds"] < 2:
        return f"data.n_folds={data['n_folds']} must be an integer of at least 2"
    fraction = data.get("fraction", 1)
    if not _is_number(fraction, int, float) or not 0 < fraction <= 1:
        return f"data.fraction={fraction} must be above 0 and at most 1, the fraction of the patients to train on"
    return None


def initial_weights(cfg: Tree) -> str | None:
    """Require a path as `init.checkpoint`, and no checksum without it."""
    init = cfg.get("init") or {}
    path, checksum = init.get("checkpoint"), init.get("checksum")
    if path is not None and (not isinstance(path, str) or not path):
        return f"init.checkpoint={path!r} must be a run directory or a checkpoint file, or null"
    return "init.checksum is set without init.checkpoint; set both or neither" if checksum and not path else None


def layout(cfg: Tree) -> str | None:
    """Require file names that can work."""
    layout = cfg["data"]["layout"]
    if not isinstance(layout, dict):
        return (
            f"data.layout={layout} names an option; choose it with data/layout={layout}, or in a data option of your "
            f"own with `defaults: [base, layout: {layout}, _self_]`"
        )
    try:
        Layout(**layout)
    except (TypeError, ValueError, AttributeError) as error:
        return f"data.layout: {str(error).removeprefix('Layout.__init__() ')}; see docs/data.md"
    return None


def _modalities(cfg: Tree) -> list[str]:
    return list(cfg["data"]["layout"]["modalities"])


def chosen_modalities(cfg: Tree) -> str | None:
    """Require that the network gets modalities of the data set, each once."""
    chosen, declared = cfg["inputs"].get("modalities"), _modalities(cfg)
    if chosen is None:
        return None
    if not chosen or len(set(chosen)) < len(chosen):
        return f"inputs.modalities={chosen} must name one modality or more, each once; null takes all"
    if unknown := [m for m in chosen if m not in declared]:
        return f"inputs.modalities={chosen}: the data set has no {unknown[0]}; choose from {', '.join(declared)}"
    return None


def constructible_groups(cfg: Tree) -> str | None:
    """Construct this package's trainer, schedules and patches, which import no torch: they check their own values."""
    for group in ("trainer", "schedule", "validation", "patches"):
        node = cfg[group]
        if is_own_class(node["_target_"]):
            module, _, name = node["_target_"].rpartition(".")
            getattr(import_module(module), name)(**{k: v for k, v in node.items() if not k.startswith("_")})
    return None


def encoder(cfg: Tree) -> str | None:
    """Require two stages or more, and a positive factor on their channels."""
    channels, width = cfg["encoder"]["channels"], cfg["encoder"]["width"]
    if len(channels) < 2 or min(channels) < 1:
        return f"encoder.channels={channels} must be two or more positive numbers, finest stage first"
    if not 0 < width < math.inf:
        return f"encoder.width={width} must be positive; 1.0 is the paper's"
    return None


def patch_and_model(cfg: Tree) -> str | None:
    """Require that the network can halve every axis of the patch as often as it does, and leaves enough voxels."""
    patch, name, n_stages = cfg["patches"]["shape"], _class_name(cfg["model"]), _n_stages(cfg)
    if isinstance(n_stages, str):
        return n_stages
    if n_stages is not None:
        divisor, needed = [2 ** (n_stages - 1)] * 3, f"{name}'s {n_stages} stages need"
        remedy = f"change patches.shape or {_declared(cfg['model'], 'per_stage', ())[0]}"
    else:
        declared = _declared(cfg["model"], "size_divisor", (1, 1, 1))
        if declared is None:
            return None
        if not isinstance(declared, list | tuple) or len(declared) != 3:
            return f"size_divisor={declared} of {name} must be three numbers, for X, Y and Z"
        divisor, needed, remedy = list(declared), f"{name} needs", "change patches.shape"
    if any(size % d for size, d in zip(patch, divisor, strict=True)):
        shown = divisor[0] if len(set(divisor)) == 1 else divisor
        return f"patches.shape={patch} is not divisible by {shown}, as {needed}; {remedy}"
    left = math.prod(size // d for size, d in zip(patch, divisor, strict=True))
    if left < (_declared(cfg["model"], "min_bottom_voxels", 1) or 1):
        return f"patches.shape={patch} leaves {name} one voxel at its lowest resolution; {remedy}"
    return None


def _n_stages(cfg: Tree) -> int | str | None:
    """Return the model's number of stages, or a sentence if its lists disagree; None if it has no such lists."""
    keys = _declared(cfg["model"], "per_stage", ()) or ()
    lists = {}
    for key in keys:
        group, _, name = key.partition(".")
        if not isinstance(cfg[group].get(name), list):
            return None
        lists[key] = cfg[group][name]
    if len({len(values) for values in lists.values()}) > 1:
        shown = " and ".join(f"{key}={values}" for key, values in lists.items())
        return f"{shown} must have one entry per stage each"
    return len(next(iter(lists.values()))) if lists else None


def supervision_and_model(cfg: Tree) -> str | None:
    """Require a model with heads on its lower decoder levels to supervise more than one head."""
    weights = cfg["supervision"].get("weights")
    if weights is not None and (not weights or min(weights) <= 0):
        return f"supervision.weights={weights} must be positive, one per head, finest first"
    n_heads = len(weights) if weights is not None else _declared(cfg["supervision"], "n_heads", None)
    supported = _declared(cfg["model"], "supports_deep_supervision", False)
    if n_heads in (None, 1) or supported is None:
        return None
    if not supported:
        return f"{_class_name(cfg['model'])} has no lower heads to supervise; set supervision=none"
    n_stages = _n_stages(cfg)
    if isinstance(n_stages, int) and n_heads > n_stages - 1:
        return (
            f"supervision.weights={weights} needs {n_heads} heads, but {n_stages} stages have {n_stages - 1}; "
            f"shorten it, or add stages to {_declared(cfg['model'], 'per_stage', ())[0]}"
        )
    return None


def auxiliary_and_model(cfg: Tree) -> str | None:
    """Require an auxiliary loss and the outputs that it trains together."""
    outputs, inputs = _declared(cfg["model"], "aux_outputs", ()), _declared(cfg["auxiliary"], "aux_inputs", None)
    if outputs is None or inputs is None:
        return None
    model, loss = _class_name(cfg["model"]), _class_name(cfg["auxiliary"])
    if missing := [name for name in inputs if name not in outputs]:
        return (
            f"auxiliary: {loss} needs {', '.join(missing)}, which {model} does not return; "
            "set model=segresnet_vae or auxiliary=none"
        )
    if untrained := [name for name in outputs if name not in inputs]:
        return f"model: {model} returns {', '.join(untrained)}, which no loss trains; set auxiliary=vae"
    return None


def label_scheme(cfg: Tree) -> str | None:
    """Require a scheme that makes sense, and thresholds and post-processing that fit it."""
    try:
        scheme = LabelScheme.of_run(cfg)
    except (TypeError, ValueError, re.error) as error:
        return f"labels: {error}; see conf/labels/brats2021.yaml"
    thresholds = cfg["inference"]["labels"]
    rule = _class_name(thresholds) if isinstance(thresholds, dict) else ""
    known = {*(region.lower() for region in scheme.regions), *_PAPER_REGIONS, "others"}
    if rule == "RegionThresholds" and (unknown := [k for k in thresholds if not k.startswith("_") and k not in known]):
        return f"inference.labels.{unknown[0]} is no region of labels={scheme.name}; choose {', '.join(sorted(known))}"
    if rule == "ThresholdsAsReleased" and not scheme.is_nested:
        return f"inference/labels=as_released needs nested regions, which labels={scheme.name} has not; choose half"
    steps = [node for node in cfg["postprocess"].values() if isinstance(node, dict)]
    if not scheme.relabel and any(_class_name(step) in ("SmallComponents", "FewVoxels") for step in steps):
        return f"labels={scheme.name} has no tissue that post-processing may relabel; set postprocess=none"
    return None


def objective(cfg: Tree) -> str | None:
    """Require a score that a run records."""
    known = ["dice", *(f"dice/{region}" for region in LabelScheme.of_run(cfg).region_names)]
    key = cfg.get("objective", "dice")
    return None if key in known else f"objective={key} is no score of a run; choose one of {', '.join(known)}"


def tracker(cfg: Tree) -> str | None:
    """Require the packages of the trackers, and a number of steps to log."""
    option = cfg["tracker"]
    for key, node in {"tracker": option, **{f"tracker.{k}": v for k, v in option.items()}}.items():
        if not isinstance(node, dict):
            continue
        package = _declared(node, "requires", None)
        if package is not None and find_spec(package) is None:
            return f"{key}: {_class_name(node)} needs {package}; install it with pip install {package}"
        if (every := node.get("every_steps", 1)) < 1:
            return f"{key}.every_steps={every} must be 1 or more"
    return None


def inference_parts(cfg: Tree) -> str | None:
    """Require components, not the names of options, and a known average."""
    inference = cfg["inference"]
    if isinstance(inference["labels"], str):
        option = inference["labels"]
        return f"inference.labels={option} names an option; choose it with inference/labels={option}"
    average = inference.get("average", _AVERAGES[0])
    return None if average in _AVERAGES else f"inference.average={average} must be one of {', '.join(_AVERAGES)}"


def whole_volume_and_model(cfg: Tree) -> str | None:
    """Refuse whole volumes for a model of one input shape."""
    keeps_shape = _declared(cfg["inference"].get("window") or {}, "keeps_patch_shape", None)
    if keeps_shape is False and _declared(cfg["model"], "fixed_shape", False):
        return f"{_class_name(cfg['model'])} takes patches of one shape only; set inference=sliding_window"
    return None


CONSTRAINTS: tuple[Constraint, ...] = (
    *(layout, data_set, coordinates, workers, initial_weights, label_scheme, objective, chosen_modalities),
    *(constructible_groups, encoder),
    *(patch_and_model, supervision_and_model, auxiliary_and_model, whole_volume_and_model, inference_parts, tracker),
)
