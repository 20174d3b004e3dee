"""Start a network from the weights of `init.checkpoint`; list what was and was not loaded."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from brats_ablate.errors import ConfigError, RunFailed
from brats_ablate.jobs.build import build_scheme
from brats_ablate.jobs.initial_weights import require_no_leak
from brats_ablate.runs.directory import RunDirectory
from brats_ablate.runs.identity import recorded_regions
from brats_ablate.runs.weights_source import RECORD, data_of, run_of, trained_on
from brats_ablate.runtime.files import write_json
from brats_ablate.runtime.output import print_line
from brats_ablate.training import checkpoint
from brats_ablate.training.matching_weights import load_matching, weights_in

if TYPE_CHECKING:
    from brats_ablate.models.base import SegmentationModel


def initialize(cfg: DictConfig, directory: RunDirectory, model: SegmentationModel, *, is_main_process: bool) -> None:
    """Load the weights of `init.checkpoint` that fit into `model`, unless the run has saved its own.

    The first rank writes `initialization.json` into the run directory and prints a line.

    Args:
        cfg: with `init` as `use_initial_weights` sets it.
        directory: the run's.
        model: as built; changed in place.
        is_main_process: True for the first rank.

    Raises:
        ConfigError: the file is damaged or contains no weights, none of them fits, or it was trained on cases that
            the run validates on.
    """
    path = OmegaConf.select(cfg, "init.checkpoint")
    if path is None or directory.last_checkpoint.exists():
        return
    file = Path(str(path))
    try:
        content: Any = checkpoint.load(file)
    except RunFailed as error:
        raise ConfigError(f"init.checkpoint={file} is damaged or no checkpoint; name another") from error
    weights = weights_in(content)
    if weights is None:
        raise ConfigError(f"init.checkpoint={file} contains no weights; name the checkpoint of a network")
    recorded = content.get("identity")
    identity: dict[str, Any] = recorded if isinstance(recorded, dict) else {}
    run = run_of(file)
    sources = trained_on(run) if run is not None else [data_of(identity)] if identity else []
    for source in sources:
        require_no_leak(cfg, source)
    matched = load_matching(weights, model)
    if not matched.loaded:
        raise ConfigError(
            f"init.checkpoint={file}: none of its {len(weights)} tensors has the name and shape of one in the network; "
            "choose the model and encoder that it was trained with"
        )
    if is_main_process:
        source = {"checkpoint": str(file), "checksum": cfg.init.checksum, "trained_on": sources}
        write_json(directory.path / RECORD, source | asdict(matched))
        print_line(f"{directory.coordinates}: initial weights of {file}: {matched}{_of_other_regions(cfg, identity)}")


def _of_other_regions(cfg: DictConfig, source: dict[str, Any]) -> str:
    """Return a remark if the source was trained on other regions, for which its heads' weights stand."""
    theirs, ours = recorded_regions(source), build_scheme(cfg).regions
    if theirs is None or theirs == frozenset(ours):
        return ""
    return f"; ! its regions were {', '.join(sorted(theirs))}, here they are {', '.join(ours)}"
