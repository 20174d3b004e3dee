from __future__ import annotations

import numpy as np
import pytest
from schemes import BRATS2021

from brats_ablate.inference.label_pipeline import LabelPipeline, LabelSetting
from brats_ablate.inference.postprocess import FewVoxels, NoPostprocess
from brats_ablate.inference.thresholds import RegionThresholds

PROBABILITIES = np.full((3, 5, 6, 7), 0.5, dtype=np.float16)


def setting(threshold: float) -> LabelSetting:
    return LabelSetting(RegionThresholds(wt=threshold, tc=threshold, et=threshold), NoPostprocess(), BRATS2021)


def test_post_processing_follows_the_thresholds() -> None:
    few = LabelSetting(RegionThresholds(wt=0.4, tc=0.4, et=0.4), FewVoxels(1000, 0.9), BRATS2021)
    assert (few(PROBABILITIES) == 2).all()
    assert (LabelSetting(few.thresholds, NoPostprocess(), BRATS2021)(PROBABILITIES) == 3).all()


def test_each_fold_uses_its_own_setting() -> None:
    pipeline = LabelPipeline(setting(0.4), {}, {0: setting(0.6)})
    assert (pipeline(PROBABILITIES, None) == 3).all()
    assert (pipeline(PROBABILITIES, 0) == 0).all()
    with pytest.raises(KeyError):
        pipeline(PROBABILITIES, 1)


def test_one_setting_serves_all_folds() -> None:
    assert (LabelPipeline(setting(0.4), {})(PROBABILITIES, 3) == 3).all()
