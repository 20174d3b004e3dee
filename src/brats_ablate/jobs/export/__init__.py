"""`job=export`: the network of one run as ONNX or as MONAI bundle. Reads runs/, writes exports/.

What is written is compared with this program's own output first, and not kept if a probability differs.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from brats_ablate.config.check import resolve
from brats_ablate.config.trust import named_targets
from brats_ablate.errors import ConfigError
from brats_ablate.inference.ensemble import choose_members
from brats_ablate.jobs.predict.run_check import check_runs
from brats_ablate.runtime.files import read_json, to_json, write_text

if TYPE_CHECKING:
    from brats_ablate.inference.ensemble import EnsembleMember

ONNX, BUNDLE = "onnx", "monai_bundle"


def run(
    cfg: DictConfig,
    *,
    format: str,
    run: str | None,
    lr: float | str,
    fixed_shape: bool | str,
    output: str | None,
    tolerance: float,
) -> None:
    """Export the best checkpoint of a run; conf/job/export.yaml describes the keys.

    Raises:
        ConfigError: a key is invalid, there is no such run, or it cannot be expressed in this format.
        RunFailed: the network cannot be exported, or the exported one computes something else.
        UserError: a package is not installed.
    """
    if format not in (ONNX, BUNDLE):
        raise ConfigError(f"job.format={format} does not exist; choose {ONNX} or {BUNDLE}")
    if fixed_shape not in (True, False, "auto"):
        raise ConfigError(f"job.fixed_shape={fixed_shape} must be true, false or auto")
    member = _member(cfg, run, lr)
    check_runs([member], named_targets(resolve(cfg)))
    from brats_ablate.jobs.export.metadata import Exported, metadata_of
    from brats_ablate.jobs.export.network import has_fixed_shape, require, save_onnx, save_torchscript, verify
    from brats_ablate.jobs.predict.ensemble import load_network

    require(format)
    exported = Exported.of(cfg, member)
    where = member.run.coordinates
    folder = Path(output or Path(cfg.paths.work) / "exports" / f"{where.name}_fold{where.fold}_{format}")
    _require_own(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    print(f"exporting {member}", flush=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        part = Path(temporary)
        model = load_network(exported.cfg, member)
        is_fixed = has_fixed_shape(model) if fixed_shape == "auto" else bool(fixed_shape)
        if format == ONNX:
            file, metadata = part / "model.onnx", part / "metadata.json"
            save_onnx(model, exported.in_channels, file, fixed_shape=is_fixed)
        else:
            from brats_ablate.jobs.export.monai_bundle import inference_config

            file, metadata = part / "models" / "model.ts", part / "configs" / "metadata.json"
            write_text(part / "configs" / "inference.json", to_json(inference_config(exported), indent=2))
            save_torchscript(model, exported.in_channels, file)
        differences = verify(exported.cfg, model, exported.in_channels, file, tolerance, fixed_shape=is_fixed)
        shape = list(model.patch_shape) if is_fixed else [f"{divisor}*n" for divisor in model.size_divisor]
        content = metadata_of(exported, format, shape, {"tolerance": tolerance, "largest_difference": differences})
        write_text(metadata, to_json(content, indent=2))
        shutil.copytree(part, folder, dirs_exist_ok=True)
    largest = max(differences.values())
    print(f"written: {folder}; probabilities differ by {largest:.1e} at most from this program's")


def _require_own(folder: Path) -> None:
    """Check that an export may be written into `folder`: that it is new, empty, or of an earlier export.

    Raises:
        ConfigError: it contains something else, or is a file.
    """
    earlier = (read_json(folder / name) for name in ("metadata.json", "configs/metadata.json"))
    is_own = folder.is_dir() and (not any(folder.iterdir()) or any("brats_ablate" in each for each in earlier))
    if folder.exists() and not is_own:
        raise ConfigError(f"{folder} is not of an earlier export; give a new folder as job.output")


def _member(cfg: DictConfig, run: str | None, lr: float | str) -> EnsembleMember:
    """Return the best checkpoint of the chosen run.

    Raises:
        ConfigError: there is no such run, or none of this fold.
    """
    if lr != "best" and not isinstance(lr, int | float):
        raise ConfigError(f"job.lr={lr} must be best, or a learning rate")
    if run is not None and not (Path(run) / "config.yaml").is_file():
        raise ConfigError(f"job.run={run} is not a run directory; give one, or leave it out to choose by name and fold")
    runs, names = Path(cfg.paths.runs), [run or cfg.name]
    members = choose_members(runs, names, lr=lr, seed=int(cfg.seed), checkpoints=1, key="name")
    chosen = [m for m in members if run is not None or m.fold == int(cfg.fold)]
    if not chosen:
        folds = ", ".join(str(m.fold) for m in members)
        raise ConfigError(f"{cfg.name} has no finished run of fold {cfg.fold}; train it, or choose fold={folds}")
    return chosen[0]
