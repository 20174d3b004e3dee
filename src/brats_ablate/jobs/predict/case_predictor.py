"""The Python interface to `job=predict`: one case in memory, by the same networks and steps."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args, get_type_hints

import numpy as np
import numpy.typing as npt
from omegaconf import DictConfig, open_dict

from brats_ablate.config.locations import resource_dir
from brats_ablate.config.messages import format_error
from brats_ablate.config.trust import require_trusted
from brats_ablate.data.case_reader import read_case
from brats_ablate.data.store import to_original_space
from brats_ablate.data.validation import validate_files
from brats_ablate.errors import ConfigError, DataError
from brats_ablate.inference.ensemble import EnsembleMember, choose_members
from brats_ablate.jobs.build import build_scheme, layout_of
from brats_ablate.jobs.predict.case_source import CaseSource, reading_rules
from brats_ablate.jobs.predict.images import Images, given_case
from brats_ablate.jobs.predict.labeling import configured_pipeline, tuned_pipeline
from brats_ablate.jobs.predict.network_inputs import inputs_of, required_modalities, without_any_modality
from brats_ablate.jobs.predict.run_check import check_runs
from brats_ablate.runs.directory import RunDirectory
from brats_ablate.training.settings import TrainerSettings

if TYPE_CHECKING:
    from brats_ablate.data.case_reader import PreparedCase

RunOrExperiment = str | Path
_RECORDED = ("inference", "postprocess")
"""Groups that a run records and a call may replace by an option."""


@dataclass(frozen=True)
class Segmentation:
    """The prediction of one case, on the voxels and axes of its images."""

    labels: np.ndarray
    """(X, Y, Z) uint8, the label values of files in the run's label scheme."""
    probabilities: np.ndarray
    """(R, X, Y, Z) float16, one channel per region; 0 outside the brain. Labels are computed from these."""
    regions: tuple[str, ...]
    """Names of the R regions."""
    affine: np.ndarray
    """4 × 4, voxel index to mm, of the images."""


class CasePredictor:
    """An ensemble of checkpoints that segments one case a call; made by `load_predictor`."""

    def __init__(self, cfg: DictConfig, members: Sequence[EnsembleMember], settings: Path | None) -> None:
        from brats_ablate.jobs.predict.ensemble import EnsemblePredictor

        self._pipeline = configured_pipeline(cfg) if settings is None else tuned_pipeline(cfg, settings)
        self._scheme, self._layout, self._networks = build_scheme(cfg), layout_of(cfg), inputs_of(members)
        self._rules = reading_rules(cfg)
        self._ensemble = EnsemblePredictor(cfg, members, CaseSource([], _no_case, {}, {}, {}))

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities of the networks: the channels of an array of images, in order."""
        return tuple(dict.fromkeys(m for network in self._networks for m in network.modalities))

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the regions, in the order of the probabilities."""
        return self._scheme.region_names

    def __call__(self, images: Images, affine: npt.ArrayLike | None = None) -> Segmentation:
        """Segment one case.

        Args:
            images: the case, raw as in its files (not normalized, 0 outside the brain): an array (M, X, Y, Z) with the
                channels `modalities`; a mapping from modality to array (X, Y, Z) or NIfTI file; a list of files, whose
                modalities are those in their names, or else those of `modalities` in order; or the folder of one case.
            affine: 4 × 4, voxel index to mm (RAS+), of arrays. None: their axes run to the right, front and top of the
                head, in steps of 1 mm. Networks are trained on this orientation, so other axes need an affine.

        Returns:
            Labels and probabilities on the grid of the images; equal to those of `job=predict`.

        Raises:
            DataError: an image is missing, unreadable or invalid, or the images do not fit each other.
        """
        case = given_case(images, affine, self.modalities, self._layout)
        missing = without_any_modality([case.raw], self._networks) | validate_files(
            [case.raw],
            self._layout,
            need_segmentation=False,
            required=required_modalities(self._networks),
            remedy="add it, as not every network was trained for cases without it (augment=paper_drop_modality)",
        )
        for case_id, reason in missing.items():
            raise DataError(f"{case_id}: {reason}")
        if self._rules.trust_affine_of is not None and isinstance(images, np.ndarray):
            raise DataError("data.trust_affine_of of the run is about files; give the images as files")
        probabilities, record, _ = self._ensemble.predict(read_case(case.raw, self._rules, case.read))
        labels = self._scheme.decode(to_original_space(record, self._pipeline(probabilities, None)))
        on_grid = to_original_space(record, probabilities)
        return Segmentation(labels, on_grid, self.regions, np.asarray(record.grid.affine))


def load_predictor(
    runs: RunOrExperiment | Sequence[RunOrExperiment],
    device: str = "auto",
    *,
    precision: str | None = None,
    inference: str | None = None,
    postprocess: str | None = None,
    settings: str | Path | None = None,
    checkpoints: int = 2,
    lr: float | str = "best",
    seed: int = 0,
    trust: Collection[str] = (),
) -> CasePredictor:
    """Load what `brats_ablate.load_predictor` documents."""
    paths = [Path(path).resolve() for path in ([runs] if isinstance(runs, str | Path) else runs)]
    if not paths:
        raise ConfigError("runs is empty; give a run directory, or the folder of an experiment")
    if checkpoints < 1:
        raise ConfigError(f"checkpoints={checkpoints} must be at least 1")
    device = str(device)  # torch's own class is accepted, too
    if re.fullmatch(r"cuda:\d+", device) is None:
        _check_setting("device", device)
    _check_setting("precision", precision or "auto")
    members = [m for path in paths for m in _members(path, checkpoints, _rate(lr), seed)]
    check_runs(members, set(trust))
    cfg = _configuration(members[0].run, device, precision, inference, postprocess, trust)
    in_order = sorted(members, key=lambda member: member.place)
    try:
        return CasePredictor(cfg, in_order, None if settings is None else Path(settings))
    except ConfigError as error:
        raise ConfigError(re.sub(r"\btrainer\.(device|precision)=", r"\1=", str(error))) from None


def _check_setting(name: str, value: str) -> None:
    allowed = get_args(get_type_hints(TrainerSettings)[name])
    if value not in allowed:
        raise ConfigError(f"{name}={value} must be one of {', '.join(allowed)}")


def _rate(lr: float | str) -> float | str:
    if lr == "best":
        return lr
    try:
        return float(lr)
    except (TypeError, ValueError):
        raise ConfigError(f"lr={lr} must be best, or a learning rate") from None


def _members(path: Path, checkpoints: int, lr: float | str, seed: int) -> list[EnsembleMember]:
    is_run = (path / "config.yaml").is_file()
    if not is_run and not any(path.glob("fold=*/lr=*/seed=*")):
        raise ConfigError(f"{path} is neither a run directory nor the folder of an experiment's runs; check the path")
    runs, name = (path, str(path)) if is_run else (path.parent, path.name)
    return choose_members(runs, [name], lr=lr, seed=seed, checkpoints=checkpoints, key="runs")


def _configuration(
    run: RunDirectory,
    device: str,
    precision: str | None,
    inference: str | None,
    postprocess: str | None,
    trust: Collection[str],
) -> DictConfig:
    """Return the packaged configuration with the data and labels of `run`, and its inference unless options say other.

    Raises:
        ConfigError: there is no such option, or the run names a class that is not trusted.
    """
    from hydra import compose, initialize_config_dir

    recorded = run.config()
    options = {"inference": inference, "postprocess": postprocess}
    chosen = {group: option for group, option in options.items() if option is not None}
    require_trusted({g: recorded[g] for g in _RECORDED if g not in chosen}, run.path / "config.yaml", trust)
    try:
        with initialize_config_dir(str(resource_dir("conf")), version_base="1.3"):
            cfg = compose("config", [f"{group}={option}" for group, option in chosen.items()])
    except Exception as error:
        if (sentence := format_error(error)) is None:
            raise
        raise ConfigError(sentence) from None
    with open_dict(cfg):
        for group in ("data", "labels", *(group for group in _RECORDED if group not in chosen)):
            cfg[group] = recorded.get(group)
        if "labels" not in recorded:  # a run of version 0.1
            del cfg["labels"]
        cfg.trainer.device, cfg.trust = device, list(trust)
        cfg.trainer.precision = precision or recorded["trainer"]["precision"]
    return cfg


def _no_case(case_id: str) -> PreparedCase:
    raise DataError(f"{case_id} is no case of a list; the images are given by the call")
