"""The cases that everything is measured on: made ones of BraTS size, or real ones; raw, and prepared by our own job."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from brats_ablate.cases import RawCase
from brats_ablate.data.layouts import find_cases
from brats_ablate.data.store import CaseStore, to_original_space
from brats_ablate.labels import to_regions_np
from measuring import Options

LAYOUT = CONVENTION = "brats2021"
USED = 4
"""Cases that are measured; more would not change a ratio."""


@dataclass(frozen=True)
class Material:
    """Raw cases and the store made of them."""

    options: Options

    @cached_property
    def raw(self) -> list[RawCase]:
        """The cases as found on disk."""
        return find_cases(self._folder, LAYOUT, need_segmentation=True)[: 2 if self.options.quick else USED]

    @property
    def _folder(self) -> Path:
        if self.options.cases is not None:
            return self.options.cases
        from brats_ablate.data.phantom import PhantomCohort

        shape = [96, 96, 80] if self.options.quick else [240, 240, 155]
        folder = self.options.work / f"raw_{shape[0]}"
        PhantomCohort(cases=USED, shape=shape, seed=0).write(folder)
        return folder

    @cached_property
    def store(self) -> CaseStore:
        """Our prepared store of at least the used cases."""
        from brats_ablate.data.preprocess import preprocess_dataset

        folder = self.options.work / f"prepared_{self._folder.name}"
        preprocess_dataset(
            self._folder, folder, name="bench", layout=LAYOUT, convention=CONVENTION, n_folds=2, trust_convention=True
        )
        return CaseStore(folder)

    @property
    def case_ids(self) -> list[str]:
        """Ids of the used cases."""
        return [case.case_id for case in self.raw]

    @property
    def described(self) -> str:
        """For the report."""
        kind = "made cases (data/phantom.py)" if self.options.cases is None else "real cases"
        return f"{len(self.raw)} {kind}"

    def reference(self) -> np.ndarray:
        """Nesting depths of the first case on its original grid, RAS+, (X, Y, Z) uint8."""
        record = self.store.record(self.case_ids[0])
        return to_original_space(record, self.store.read_labels(record.case_id))

    def prediction(self) -> np.ndarray:
        """A segmentation of the first case with errors of a few voxels at every border, on the same grid."""
        probabilities = self.probabilities(self.reference(), seed=1)
        wt, tc, et = (p >= 0.45 for p in probabilities)
        return (wt.astype(np.uint8) + (wt & tc) + (wt & tc & et)).astype(np.uint8)

    @staticmethod
    def probabilities(depth: np.ndarray, seed: int) -> np.ndarray:
        """Plausible region probabilities of nesting depths: (3, X, Y, Z) float16, soft and wrong near the borders."""
        from scipy.ndimage import gaussian_filter

        draw = np.random.default_rng(seed)
        found = []
        for mask in to_regions_np(depth):
            noise = gaussian_filter(draw.standard_normal(depth.shape, dtype=np.float32), 3)
            soft = gaussian_filter(mask.astype(np.float32), 1.5)
            # Where the region is far away the probability is exactly 0, as after a confident sigmoid in float16.
            found.append(np.where(soft > 1e-3, np.clip(soft + 3 * noise, 0, 1), 0))
        return np.stack(found).astype(np.float16)
