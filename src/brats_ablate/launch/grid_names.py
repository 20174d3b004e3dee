"""Names for the runs of a grid over options and values: what each differs in from its experiment, or from the defaults.

Only what varies in the grid counts, and what is the usual value is left out, so a larger grid continues a smaller one.
A run that another grid gave the same name with a different configuration is refused with the difference: `name=…` then
sets a first part of all names.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence

from brats_ablate.config.design import DEFAULT
from brats_ablate.runs.identity import EXECUTION_KEYS, TRAINING_GROUPS

UNNAMED = "custom"
"""`name` in conf/config.yaml, of a run without an experiment."""
_COUNTED = (*TRAINING_GROUPS, "inference", "data.fraction", "init.checkpoint")
"""Groups and single keys whose values name a run."""


def naming_keys(grid: Sequence[Mapping[str, object]], fixed: Container[str] | None = None) -> list[str]:
    """Return the keys that name the runs of a grid, in the order of their groups; none if the runs need no names.

    Args:
        grid: the overrides of each run, key or group to value.
        fixed: keys whose value never varies, if `grid` is only a part of all runs; None to compare its runs.
    """
    keys = {key for run in grid for key in run if _group(key) in _COUNTED and key not in EXECUTION_KEYS}
    if fixed is None:
        swept = [key for key in keys if len({repr(run.get(key)) for run in grid}) > 1]
    else:
        swept = [key for key in keys if key not in fixed]
    return sorted(swept, key=lambda key: (_COUNTED.index(_group(key)), key))


def grid_name(base: str, differences: Iterable[tuple[str, object]]) -> str:
    """Return the name of a run that differs from `base` in these keys and values.

    Examples:
        >>> grid_name("custom", [("inputs", "onehot"), ("supervision", "deep")])
        'inputs-onehot_supervision-deep'
        >>> grid_name("ds", [("encoder.channels", [32, 64])])
        'ds_encoder.channels-32-64'
        >>> grid_name("ds", [("init.checkpoint", "work/brats21/runs/ds/fold=0/lr=0.0007/seed=0")])
        'ds_init.checkpoint-ds'
        >>> grid_name("ds", [("loss.offset", [-1, 1e-05])])
        'ds_loss.offset-minus1-1e-05'
        >>> grid_name("custom", [])
        'default'
    """
    parts = [] if base == UNNAMED else [base]
    parts += [re.sub(r"[^\w.]+", "-", f"{key}-{_shown(value)}").strip("-") for key, value in differences]
    return "_".join(parts) or DEFAULT


def _group(key: str) -> str:
    return key if key in _COUNTED else re.split(r"[./@]", key)[0]


def _shown(value: object) -> str:
    """Return a value as text, with words for signs, and a run directory by its experiment."""
    text = re.sub(r"(?:.*/)?([^/]+)/fold=.*", r"\1", str(value))
    return re.sub(r"(?<![\w.])-(?=[\d.])", "minus", text)
