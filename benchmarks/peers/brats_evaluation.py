"""The challenge's own evaluation, PyPI `brats-evaluation`, as a command in an environment of its own.

It is licensed under the AGPL: nothing of it is imported here or installed beside this project.
"""

from __future__ import annotations

import csv
import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

PACKAGE = "brats-evaluation==0.0.10"
OF_METRIC = {
    "dice": "global_dsc",
    "nsd": "global_nsd",
    "hd95": "global_hd95",
    "lesion_dice": "lesionwise_dsc_mean",
    "lesion_nsd": "lesionwise_nsd_mean",
    "lesion_hd95": "lesionwise_hd95_mean",
    "lesions_found": "all_instance_tp",
    "lesions_missed": "all_instance_fn",
    "lesions_invented": "all_instance_fp",
    "lesion_precision": "all_instance_prec",
    "lesion_recall": "all_instance_rec",
    "lesion_f1": "all_instance_f1",
}
"""Our metric -> start of its column."""
OF_REGION = {"WT": "wt", "TC": "tc", "ET": "et", "ED": "snfh", "NCR": "netc"}
"""Our region or tissue -> end of its column."""
_WORST_MM = 373.0
"""What the package writes for an infinite global distance; a lesion-wise one stays infinite."""


def install(folder: Path) -> Path:
    """Create the package's environment if it is missing, and return it.

    Raises:
        SystemExit: the installation failed.
    """
    if not (folder / "bin" / "brats-evaluate").exists():
        print(f"installing {PACKAGE} into {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", PACKAGE]
        if subprocess.run(command, check=False).returncode:
            sys.exit(f"{folder}: {PACKAGE} could not be installed; see the message of pip above")
    return folder


def evaluate(environment: Path, references: Path, predictions: Path, out: Path) -> Path:
    """Run the package's two commands and return the CSV file that it writes.

    Its configuration `gli` takes 4 as the resection cavity: the files must have 1 NETC, 2 SNFH, 3 ET.
    """
    summary, table = out / "summary.json", out / "metrics.csv"
    paths = ["--ref_path", str(references), "--pred_path", str(predictions), "--summary_json", str(summary)]
    tool = str(environment / "bin" / "brats-evaluate")
    subprocess.run([tool, "--config", "gli", *paths], check=True, capture_output=True)
    paths = ["--json_path", str(summary), "--output_csv_path", str(table)]
    parser = str(environment / "bin" / "brats-parse-metrics")
    subprocess.run([parser, "seg", *paths], check=True, capture_output=True)
    return table


def read(table: Path) -> dict[tuple[str, str, str], float]:
    """Return (case, region, metric) -> value by our names; NaN where the package leaves a cell empty."""
    values = {}
    with table.open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            case_id = row["subject_id"].removesuffix(".nii.gz")
            if case_id == row["subject_id"]:
                continue  # means over the cases
            for metric, start in OF_METRIC.items():
                for region, end in OF_REGION.items():
                    value = float(row[f"{start}_{end}"] or "nan")
                    values[case_id, region, metric] = _WORST_MM if math.isinf(value) else value
    return values


def perturbations(seed: int) -> Mapping[str, Callable[[np.ndarray], np.ndarray]]:
    """Return six ways to spoil a segmentation (X, Y, Z) with the values 1 NETC, 2 SNFH, 3 ET."""
    generator = np.random.default_rng(seed)

    def added(values: np.ndarray) -> np.ndarray:
        values = values.copy()
        for _ in range(6):
            edge = int(generator.integers(2, 9))
            box = tuple(slice(x, x + edge) for x in (int(generator.integers(20, n - 20)) for n in values.shape))
            values[box] = np.where(values[box] == 0, generator.integers(1, 4), values[box])
        return values

    return {
        "eroded": lambda values: np.where(ndimage.binary_erosion(values > 0, iterations=2), values, 0),
        "shifted": lambda values: np.roll(values, (3, -2, 1), (0, 1, 2)),
        "removed": _halved,
        "added": added,
        "emptied": lambda values: np.where(values == 3, 1, values),
        "swapped": lambda values: np.array([0, 2, 1, 3], dtype=values.dtype)[values],
    }


def _halved(values: np.ndarray) -> np.ndarray:
    """Cut the tumor in two where it is in the middle, and remove every second component of each tissue."""
    values = values.copy()
    middle = int(np.median(np.nonzero(values)[0]))
    values[middle - 2 : middle + 3] = 0
    for tissue in (1, 2, 3):
        components, count = ndimage.label(values == tissue)
        values[np.isin(components, range(2, count + 1, 2))] = 0
    return values


def write_inputs(cases: Path, references: Path, predictions: Path, *, limit: int | None = None) -> None:
    """Write each real case once per perturbation, with a number of its own, as the package needs it.

    Args:
        cases: folder of BraTS 2021 cases; ET is 4 in their files and becomes 3.
        references: folder to write `BraTS2021_<number>.nii.gz` into.
        predictions: the same for the perturbed segmentations.
        limit: of real cases.
    """
    for folder in (references, predictions):
        folder.mkdir(parents=True, exist_ok=True)
    number = 0
    for seed, file in enumerate(sorted(cases.rglob("*_seg.nii.gz"))[:limit]):
        image = nib.load(file)
        values = np.asarray(image.dataobj).astype(np.uint8)
        values[values == 4] = 3
        for spoil in perturbations(seed).values():
            name = f"BraTS2021_{number:05d}.nii.gz"
            nib.save(nib.Nifti1Image(values, image.affine), references / name)
            nib.save(nib.Nifti1Image(spoil(values).astype(np.uint8), image.affine), predictions / name)
            number += 1
