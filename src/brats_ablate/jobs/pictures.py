"""`job=pictures`: the paper's Fig. 7 for chosen or for the worst cases. Reads predictions/, evaluation/, prepared/.

One PNG per case: FLAIR (or the first modality), prediction, reference, on the axial slice with the largest tumor area.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from brats_ablate.errors import ConfigError, DataError
from brats_ablate.inference.prediction_store import find_label_files
from brats_ablate.report.case_image import draw_slice, largest_tumor_slice
from brats_ablate.runtime.files import atomic_write

if TYPE_CHECKING:
    from PIL.Image import Image

    from brats_ablate.data.store import CaseStore


def run(cfg: DictConfig, *, predictions: str, cases: list[str] | None, worst: int, region: str) -> None:
    """Draw the chosen cases, or the `worst` ones of an evaluation by mean Dice or by that of one region.

    Raises:
        ConfigError: a case or region that does not exist.
        DataError: there are no predictions, or no evaluation to find the worst cases in.
    """
    from brats_ablate.jobs.build import open_store

    folder = Path(cfg.paths.predictions) / predictions
    files, store = find_label_files(folder), open_store(cfg)
    dice = mean_dice(Path(cfg.paths.evaluation) / f"{predictions}.csv", region)
    if cases is None:
        if not dice:
            raise DataError(
                f"{predictions} has no evaluation to find its worst cases in; run job=evaluate, or set job.cases"
            )
        cases = sorted(dice, key=lambda case_id: (dice[case_id], case_id))[:worst]
    unknown = [c for c in cases if c not in files or c not in store.case_ids]
    if unknown:
        raise ConfigError(f"job.cases: {unknown[0]} is not in {folder} and the prepared set; check the id")
    for case_id in cases:
        caption = f"{case_id}   Dice {dice[case_id]:.4f}" if case_id in dice else case_id
        target = folder / "pictures" / f"{case_id}.png"
        picture = draw_case(store, case_id, files[case_id], caption)
        with atomic_write(target) as temporary:
            picture.save(temporary, format="PNG")
    print(f"{len(cases)} pictures: {folder / 'pictures'}")


def mean_dice(file: Path, region: str) -> dict[str, float]:
    """Return case -> Dice of `region`, or the mean over regions if that is "mean"; {} without an evaluation.

    Raises:
        ConfigError: the evaluation has no such region.
    """
    if not file.is_file():
        return {}
    from brats_ablate.tables.results import read_evaluation

    rows = read_evaluation(file)
    dice = rows[rows["metric"] == "dice"].pivot_table("value", "case", "region")
    if region not in (*dice.columns, "mean"):
        raise ConfigError(f"job.region={region} must be mean, or one of {', '.join(dice.columns)}")
    values = dice.mean(axis=1) if region == "mean" else dice[region].dropna()
    return {str(case_id): float(value) for case_id, value in values.items()}


def draw_case(store: CaseStore, case_id: str, prediction: Path, caption: str) -> Image:
    """Draw image, prediction and, where the case has one, reference, side by side with a caption."""
    from brats_ablate.data import nifti
    from brats_ablate.data.store import to_stored_space

    record = store.record(case_id)
    values, affine = nifti.read_volume(prediction)
    try:
        predicted = to_stored_space(record, store.labels.encode(values), affine)
    except ValueError as error:
        raise DataError(f"{prediction} is not on the grid of {case_id}; resample it to the case's own grid") from error
    name, image = store.read_shown(case_id)
    reference = store.read_labels(case_id) if record.has_labels else None
    z = largest_tumor_slice(predicted if reference is None or not reference.any() else reference)
    labels = (predicted[:, :, z], None if reference is None else reference[:, :, z])
    return draw_slice(name, image[:, :, z], *labels, caption, store.labels.tissue_names[1:])
