"""`job=pictures`: the paper's Fig. 7 for chosen or for the worst cases. Reads predictions/, evaluation/, prepared/.

One PNG per case: FLAIR, prediction, reference, on the axial slice that holds most of the tumour.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from brats_ablate.atomic import replacing
from brats_ablate.errors import ConfigError, DataError
from brats_ablate.jobs.prediction_folder import find_label_files
from brats_ablate.labels import MODALITIES, TISSUES, to_depth

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from brats_ablate.data.store import CaseStore

COLOURS = ((68, 1, 84), (33, 145, 140), (59, 82, 139), (253, 231, 37))
"""By nesting depth, as in the paper's Fig. 7: background purple, ED turquoise, NCR blue, ET yellow."""

_HEIGHT, _CAPTION, _GAP = 384, 26, 6


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
                f"{predictions} has no evaluation to find its worst cases in; run job=evaluate, or give job.cases"
            )
        cases = sorted(dice, key=lambda case_id: (dice[case_id], case_id))[:worst]
    unknown = [c for c in cases if c not in files or c not in store.case_ids]
    if unknown:
        raise ConfigError(f"job.cases: {unknown[0]} is not in {folder} and the prepared set; check the id")
    for case_id in cases:
        caption = f"{case_id}   Dice {dice[case_id]:.4f}" if case_id in dice else case_id
        target = folder / "pictures" / f"{case_id}.png"
        picture = draw_case(store, case_id, files[case_id], caption)
        with replacing(target) as temporary:
            picture.save(temporary, format="PNG")
    print(f"{len(cases)} pictures: {folder / 'pictures'}")


def mean_dice(file: Path, region: str) -> dict[str, float]:
    """Case -> Dice of `region`, or the mean over regions if that is "mean"; {} without an evaluation.

    Raises:
        ConfigError: the evaluation knows no such region.
    """
    if not file.is_file():
        return {}
    with file.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["metric"] == "dice"]
    regions = sorted({row["region"] for row in rows})
    if region not in (*regions, "mean"):
        raise ConfigError(f"job.region={region} must be mean, or one of {', '.join(regions)}")
    values: dict[str, list[float]] = {}
    for row in rows:
        if region in ("mean", row["region"]):
            values.setdefault(row["case"], []).append(float(row["value"]))
    return {case_id: sum(v) / len(v) for case_id, v in values.items()}


def draw_case(store: CaseStore, case_id: str, prediction: Path, caption: str) -> Image:
    """FLAIR, prediction and, where the case has one, reference, side by side with a caption."""
    import numpy as np

    from brats_ablate.data import nifti
    from brats_ablate.data.orientation import Orientation

    record = store.record(case_id)
    values, affine = nifti.read_volume(prediction)
    if values.shape != record.grid.shape:
        raise DataError(f"{prediction} is not on the grid of {case_id}; resample it to the case's own grid")
    oriented = Orientation.of(np.asarray(affine)).to_ras(to_depth(values, store.convention))
    predicted = oriented[record.box.slices]
    flair = store.read_images(case_id)[MODALITIES.index("flair")]
    reference = store.read_labels(case_id) if record.has_labels else None
    tumour = predicted if reference is None or not reference.any() else reference
    z = int((tumour > 0).sum(axis=(0, 1)).argmax()) if tumour.any() else flair.shape[2] // 2
    panels = [grey(flair[:, :, z]), coloured(predicted[:, :, z])]
    titles = ["FLAIR", "prediction"]
    if reference is not None:
        panels.append(coloured(reference[:, :, z]))
        titles.append("reference")
    return compose_panels(panels, titles, caption)


def grey(image: np.ndarray) -> np.ndarray:
    """(X, Y) raw values -> (X, Y, 3) uint8; the brightest half per cent saturates."""
    import numpy as np

    brain = image[image != 0]
    low, high = (float(brain.min()), float(np.percentile(brain, 99.5))) if brain.size else (0.0, 1.0)
    scaled = np.clip((image - min(low, 0.0)) / max(high - min(low, 0.0), 1e-6), 0, 1)
    return np.repeat((scaled * 255).astype(np.uint8)[..., None], 3, axis=2)


def coloured(depth: np.ndarray) -> np.ndarray:
    """(X, Y) nesting depths -> (X, Y, 3) uint8 in `COLOURS`."""
    import numpy as np

    return np.array(COLOURS, dtype=np.uint8)[depth]


def compose_panels(panels: list[np.ndarray], titles: list[str], caption: str) -> Image:
    """(X, Y, 3) panels of one shape, RAS+, as a radiologist looks: front up, the patient's right on the left."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(15)
    upright = [np.ascontiguousarray(np.flip(p.transpose(1, 0, 2), axis=(0, 1))) for p in panels]
    width = round(_HEIGHT * upright[0].shape[1] / upright[0].shape[0])
    size = (len(panels) * (width + _GAP) - _GAP, _HEIGHT + 2 * _CAPTION)
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for i, (panel, title) in enumerate(zip(upright, titles, strict=True)):
        left = i * (width + _GAP)
        scaled = Image.fromarray(panel).resize((width, _HEIGHT), Image.Resampling.NEAREST)
        picture.paste(scaled, (left, _CAPTION))
        draw.text((left + 4, 5), title, "black", font=font)
    draw.text((4, _HEIGHT + _CAPTION + 5), caption, "black", font=font)
    right = size[0] - 4
    for name, colour in reversed(list(zip(TISSUES[1:], COLOURS[1:], strict=True))):
        right -= round(font.getlength(name)) + 22
        draw.rectangle((right, _HEIGHT + _CAPTION + 6, right + 12, _HEIGHT + _CAPTION + 18), fill=colour)
        draw.text((right + 16, _HEIGHT + _CAPTION + 4), name, "black", font=font)
    return picture
