"""`job=pictures`: prediction and errors of chosen or of the worst cases, one PNG each (the paper's Fig. 7 and more).

Reads predictions/, evaluation/, and the images from prepared/ or from raw files. Each picture shows three planes, each
through its slice with the most wrong voxels: contours on T1ce and FLAIR, prediction, reference, errors.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from brats_ablate.errors import ConfigError, DataError
from brats_ablate.inference.prediction_store import find_label_files
from brats_ablate.jobs.build import build_scheme, open_store
from brats_ablate.jobs.predict.case_source import PREPARED, open_source
from brats_ablate.report.case_image import draw_case, gray
from brats_ablate.report.planes import PLANES, CaseSlice, largest_error_slice
from brats_ablate.runtime.files import atomic_write

if TYPE_CHECKING:
    from PIL.Image import Image

    from brats_ablate.data.case_reader import PreparedCase
    from brats_ablate.labels.scheme import LabelScheme


def run(cfg: DictConfig, *, predictions: str, source: str, cases: list[str] | None, worst: int, region: str) -> None:
    """Draw the chosen cases, or the `worst` ones of an evaluation by mean Dice or by that of one region.

    Of raw files without an evaluation, all predicted cases are drawn.

    Raises:
        ConfigError: a case, region or folder that does not exist, or no case is wanted.
        DataError: there are no predictions, no evaluation to find the worst cases in, or a case is invalid.
    """
    if cases is None and worst < 1:
        raise ConfigError(f"job.worst={worst} must be at least 1")
    folder = Path(cfg.paths.predictions) / predictions
    case_ids, load = _cases(cfg, source)
    files = find_label_files(folder, known=case_ids)
    averaged = build_scheme(cfg).averaged_names
    dice = mean_dice(Path(cfg.paths.evaluation) / f"{predictions}.csv", region, averaged)
    if cases is None:
        cases = sorted(dice, key=lambda case_id: (dice[case_id], case_id))[:worst]
        if not dice and source == PREPARED:
            raise DataError(
                f"{predictions} has no evaluation to find its worst cases in; run job=evaluate, or set job.cases"
            )
        if not dice:
            cases = [case_id for case_id in case_ids if case_id in files]
    where = f"{folder} and {'the prepared set' if source == PREPARED else source}"
    if unknown := [c for c in cases if c not in files or c not in case_ids]:
        raise ConfigError(f"job.cases: {unknown[0]} is not in {where}; check the id")
    if not cases:
        raise DataError(f"there is no common case in {where}; give the job.source that job=predict predicted")
    for case_id in cases:
        caption = f"{case_id}   Dice {dice[case_id]:.4f}" if case_id in dice else case_id
        picture = picture_of(load(case_id), files[case_id], caption, build_scheme(cfg))
        with atomic_write(folder / "pictures" / f"{case_id}.png") as temporary:
            picture.save(temporary, format="PNG")
    print(f"{len(cases)} pictures: {folder / 'pictures'}")


def mean_dice(file: Path, region: str, averaged: Sequence[str]) -> dict[str, float]:
    """Return case -> Dice of `region`, or its mean over `averaged` if that is "mean"; {} without an evaluation.

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
    values = dice.reindex(columns=list(averaged)).mean(axis=1) if region == "mean" else dice[region].dropna()
    return {str(case_id): float(value) for case_id, value in values.items()}


def _cases(cfg: DictConfig, source: str) -> tuple[Collection[str], Callable[[str], PreparedCase]]:
    """Return the ids of a source, and how to read a case with its reference, if it has one."""
    if source != PREPARED:
        raw = open_source(cfg, source, None, segmentations=True)

        def load_raw(case_id: str) -> PreparedCase:
            if case_id in raw.problems:
                raise DataError(f"{case_id}: {raw.problems[case_id]}")
            return raw.load(case_id)

        return [*raw.case_ids, *raw.problems], load_raw
    import numpy as np

    from brats_ablate.data.case_reader import PreparedCase

    store = open_store(cfg)

    def load(case_id: str) -> PreparedCase:
        record, images = store.record(case_id), store.read_shown(case_id)
        labels = store.read_labels(case_id) if record.has_labels else None
        return PreparedCase(record, np.stack(list(images.values())), labels, tuple(images))

    return store.case_ids, load


def picture_of(case: PreparedCase, prediction: Path, caption: str, labels: LabelScheme) -> Image:
    """Draw a case in three planes, with a caption.

    Raises:
        DataError: the prediction is on another grid, or has other labels than `labels`.
    """
    from brats_ablate.data import nifti
    from brats_ablate.data.store import shown_modalities, slice_in_file, stored_spacing_mm, to_stored_space
    from brats_ablate.data.validation import encoded_labels

    values, affine = nifti.read_volume(prediction)
    encoded = encoded_labels(prediction, values, labels)
    try:
        predicted = to_stored_space(case.record, encoded, affine)
    except ValueError as error:
        name = case.record.case_id
        raise DataError(f"{prediction} is not on the grid of {name}; resample it to the case's own grid") from error
    shown = case.with_channels(shown_modalities(case.modalities))
    grays = {modality: gray(image) for modality, image in zip(shown.modalities, shown.images, strict=True)}
    spacing_mm = stored_spacing_mm(case.record)
    slices = []
    for plane in PLANES:
        k = largest_error_slice(predicted, case.labels, plane)
        images = {modality: plane.upright(image, k) for modality, image in grays.items()}
        reference = None if case.labels is None else plane.upright(case.labels, k)
        position, pixel_mm = slice_in_file(case.record, plane.axis, k), plane.pixel_mm(spacing_mm)
        slices.append(CaseSlice(plane, images, plane.upright(predicted, k), reference, pixel_mm, position))
    return draw_case(slices, caption, labels.tissue_names[1:])
