"""A folder of results of nnU-Net v2, `nnUNet_results/Dataset…/<trainer>__<plans>__<configuration>`: what is in it.

dataset.json, plans.json
fold_0/checkpoint_final.pth, checkpoint_best.pth
fold_0/validation/<case>.nii.gz, summary.json
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brats_ablate.data import dataset_json
from brats_ablate.errors import ConfigError, DataError

_ENDINGS = (".nii.gz", ".nii")


@dataclass(frozen=True)
class ResultsFolder:
    """One trainer, plans and configuration, with its folds."""

    path: Path
    trainer: str
    plans_name: str
    configuration: str
    dataset: Mapping[str, Any]
    """Content of dataset.json."""
    plans: Mapping[str, Any]
    """Content of plans.json."""

    @classmethod
    def open(cls, source: str | None) -> ResultsFolder:
        """Read the descriptions in a folder.

        Raises:
            ConfigError: it is no such folder; names those in it that are.
            DataError: a description is damaged.
        """
        if source is None:
            raise ConfigError(
                "job.source is missing; set it to nnUNet_results/<dataset>/<trainer>__<plans>__3d_fullres"
            )
        path = Path(source)
        if not (path / "plans.json").is_file() or not (path / "dataset.json").is_file():
            inside = sorted(p.parent.name for p in path.glob("*__*__*/plans.json")) if path.is_dir() else []
            remedy = f"give one of those in it: {', '.join(inside)}" if inside else "check the path"
            raise ConfigError(
                f"job.source={path} is no folder of nnU-Net's results (<trainer>__<plans>__<configuration> with "
                f"plans.json and dataset.json); {remedy}"
            )
        names = path.resolve().name.split("__")
        if len(names) != 3:
            raise ConfigError(
                f"job.source={path} is not named <trainer>__<plans>__<configuration>, so its configuration is unknown; "
                "give the folder its name back"
            )
        plans = dataset_json.read(path / "plans.json")
        if names[2] not in plans.get("configurations", {}):
            raise DataError(f"{path / 'plans.json'} has no configuration {names[2]}; give the folder its name back")
        trainer, plans_name, configuration = names
        return cls(path, trainer, plans_name, configuration, dataset_json.read(path / "dataset.json"), plans)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    @property
    def folds(self) -> list[int]:
        """Numbers of the folds that there are; that of all cases, which has no held-out ones, is none of them."""
        numbers = (p.name.removeprefix("fold_") for p in self.path.glob("fold_*") if p.is_dir())
        return sorted(int(number) for number in numbers if number.isdecimal())

    def fold(self, number: int) -> Path:
        """Return the folder of a fold."""
        return self.path / f"fold_{number}"

    def validation_files(self) -> dict[int, dict[str, Path]]:
        """Return fold -> case id -> prediction of a held-out case, for the folds that have been validated.

        Raises:
            DataError: a case is in two folds, or the files are not NIfTI.
        """
        ending = str(self.dataset.get("file_ending", _ENDINGS[0]))
        if ending not in _ENDINGS:
            raise DataError(
                f"{self.path / 'dataset.json'}: file_ending is {ending}; only {' and '.join(_ENDINGS)} are read"
            )
        files = {
            fold: {p.name.removesuffix(ending): p for p in sorted((self.fold(fold) / "validation").glob(f"*{ending}"))}
            for fold in self.folds
        }
        first: dict[str, int] = {}
        for fold, of_fold in files.items():
            for case_id in of_fold:
                if first.setdefault(case_id, fold) != fold:
                    raise DataError(
                        f"{self.path}: {case_id} is held out in fold_{first[case_id]} and fold_{fold}, so which "
                        "network did not train on it is unclear; remove the wrong validation file"
                    )
        return {fold: of_fold for fold, of_fold in files.items() if of_fold}

    def lost_files(self, fold: int) -> list[str]:
        """Return the cases that nnU-Net's summary of a fold scored and that have no file any more."""
        file = self.fold(fold) / "validation" / "summary.json"
        scored = dataset_json.read(file).get("metric_per_case", []) if file.exists() else []
        names = {Path(str(case.get("prediction_file", ""))).name for case in scored if isinstance(case, dict)}
        return sorted(name for name in names if name and not (file.parent / name).exists())
