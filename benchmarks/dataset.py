"""The cases of all measurements: real or synthetic cases of BraTS size, raw and prepared by `job=prepare`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from brats_ablate.cases import RawCase
from brats_ablate.config.data_options import known_layouts
from brats_ablate.data.raw_cases import find_cases
from brats_ablate.data.store import CaseStore, to_original_space
from brats_ablate.labels.scheme import LabelScheme
from measuring import Options

LAYOUT = known_layouts()["brats2021"]
LABELS = LabelScheme.named_before("brats2021")
USED = 4
"""Number of measured cases; more would not change the ratios."""


@dataclass(frozen=True)
class Dataset:
    """Raw cases and their prepared store."""

    options: Options

    @cached_property
    def raw(self) -> list[RawCase]:
        """Raw cases on disk."""
        return find_cases(self._folder, LAYOUT, need_segmentation=True)[: 2 if self.options.quick else USED]

    @property
    def _folder(self) -> Path:
        if self.options.cases is not None:
            return self.options.cases
        from brats_ablate.data.phantom import PhantomCohort

        shape = [96, 96, 80] if self.options.quick else [240, 240, 155]
        folder = self.options.work / f"raw_{shape[0]}"
        PhantomCohort(cases=USED, shape=shape, seed=0).write(folder, LAYOUT, LABELS)
        return folder

    @cached_property
    def store(self) -> CaseStore:
        """Prepared store of at least the used cases."""
        from brats_ablate.data.preprocess import preprocess_dataset

        folder = self.options.work / f"prepared_{self._folder.name}"
        preprocess_dataset(
            self._folder, folder, name="bench", layout=LAYOUT, labels=LABELS, n_folds=2, trust_convention=True
        )
        return CaseStore(folder)

    @property
    def case_ids(self) -> list[str]:
        """Ids of the used cases."""
        return [case.case_id for case in self.raw]

    @property
    def described(self) -> str:
        """Description for the report."""
        kind = "synthetic cases (data/phantom.py)" if self.options.cases is None else "real cases"
        return f"{len(self.raw)} {kind}"

    def reference(self) -> np.ndarray:
        """Return the nested labels of the first case on its original grid, RAS+, (X, Y, Z) uint8."""
        record = self.store.record(self.case_ids[0])
        return to_original_space(record, self.store.read_labels(record.case_id))

    def prediction(self) -> np.ndarray:
        """Return a segmentation of the first case with errors of a few voxels at every border, on the same grid."""
        probabilities = self.probabilities(self.reference(), seed=1)
        wt, tc, et = (p >= 0.45 for p in probabilities)
        return (wt.astype(np.uint8) + (wt & tc) + (wt & tc & et)).astype(np.uint8)

    @staticmethod
    def probabilities(labels: np.ndarray, seed: int) -> np.ndarray:
        """Simulate region probabilities of nested labels: (3, X, Y, Z) float16, soft and wrong near the borders."""
        from scipy.ndimage import gaussian_filter

        draw = np.random.default_rng(seed)
        regions = []
        for mask in LABELS.to_regions_np(labels):
            noise = gaussian_filter(draw.standard_normal(labels.shape, dtype=np.float32), 3)
            soft = gaussian_filter(mask.astype(np.float32), 1.5)
            # Far from the region the probability is exactly 0, as after a confident sigmoid in float16.
            regions.append(np.where(soft > 1e-3, np.clip(soft + 3 * noise, 0, 1), 0))
        return np.stack(regions).astype(np.float16)
