from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from schemes import BRATS2021, REGIONS

from brats_ablate.data.store import CaseStore
from brats_ablate.errors import ConfigError, DataError
from brats_ablate.jobs.predict import write_case
from brats_ablate.report.case_image import COLORS, colored, compose_panels
from brats_ablate.tables.writers import write_csv

Job = Callable[..., None]


@pytest.fixture
def store(work: Path) -> CaseStore:
    """The prepared cases, each predicted as its reference; the Dice of the evaluation falls from case to case."""
    store = CaseStore(work / "phantom" / "prepared")
    folder = work / "phantom" / "predictions" / "drawn"
    folder.mkdir(parents=True)
    for case_id in store.case_ids:
        write_case(folder / f"{case_id}.nii.gz", store.read_labels(case_id), store.record(case_id), BRATS2021)
    rows = [
        {"case": case_id, "fold": 0, "region": region, "metric": "dice", "value": 0.9 - 0.1 * i}
        for i, case_id in enumerate(store.case_ids)
        for region in REGIONS
    ]
    write_csv(pd.DataFrame(rows), work / "phantom" / "evaluation" / "drawn.csv")
    return store


def test_the_worst_cases_with_prediction_next_to_reference(job: Job, store: CaseStore, work: Path) -> None:
    job("job=pictures", "job.predictions=drawn", "job.worst=2")
    files = sorted((work / "phantom" / "predictions" / "drawn" / "pictures").iterdir())
    assert [file.stem for file in files] == store.case_ids[-2:]
    picture = np.asarray(Image.open(files[0]))
    present = {tuple(int(v) for v in c) for c in np.unique(picture.reshape(-1, 3), axis=0)}
    assert {COLORS[0], COLORS[1]} <= present
    width = (picture.shape[1] - 2 * 6) // 3
    panels = [picture[30:400, i * (width + 6) : i * (width + 6) + width] for i in range(3)]
    np.testing.assert_array_equal(panels[1], panels[2])  # the prediction is the reference
    assert (panels[0][..., 0] == panels[0][..., 1]).all()  # FLAIR is gray


def test_front_is_up_and_the_patients_right_on_the_left() -> None:
    labels = np.zeros((20, 30), dtype=np.uint8)
    labels[0:4, 26:30] = 3  # RAS+: x from left to right, so the patient's left; y to the front
    picture = np.asarray(compose_panels([colored(labels)], ["prediction"], "", ["ED", "NCR", "ET"]))[
        :400
    ]  # without the legend below
    yellow = (picture == COLORS[3]).all(axis=-1)
    rows, columns = np.nonzero(yellow)
    assert rows.max() < picture.shape[0] / 2
    assert columns.min() > picture.shape[1] / 2


def test_chosen_cases_need_no_evaluation(job: Job, store: CaseStore, work: Path) -> None:
    (work / "phantom" / "evaluation" / "drawn.csv").unlink()
    job("job=pictures", "job.predictions=drawn", f"job.cases=[{store.case_ids[0]}]")
    assert (work / "phantom" / "predictions" / "drawn" / "pictures" / f"{store.case_ids[0]}.png").is_file()
    with pytest.raises(DataError, match="no evaluation"):
        job("job=pictures", "job.predictions=drawn")
    with pytest.raises(ConfigError, match="nobody"):
        job("job=pictures", "job.predictions=drawn", "job.cases=[nobody]")
