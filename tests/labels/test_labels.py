import numpy as np
import pytest
import torch

from brats_ablate.labels import (
    CONVENTIONS,
    LabelError,
    decode_labels,
    encode_labels,
    labels_from_probabilities,
    to_regions,
    to_regions_np,
)


@pytest.mark.parametrize(
    ("convention", "values"), [("brats2021", [0, 2, 1, 4]), ("brats2023", [0, 2, 1, 3]), ("msd", [0, 1, 2, 3])]
)
def test_background_ed_ncr_et_are_0_to_3(convention: str, values: list[int]) -> None:
    file = np.array(values, dtype=np.int16).reshape(1, 2, 2)
    assert encode_labels(file, convention).ravel().tolist() == [0, 1, 2, 3]
    assert encode_labels(file.astype(np.float64), convention).dtype == np.uint8
    assert np.array_equal(decode_labels(encode_labels(file, convention), convention), file)


@pytest.mark.parametrize(
    ("convention", "value", "shown"),
    [
        ("brats2021", 3, "3"),
        ("brats2023", 4, "4"),
        ("msd", 4, "4"),
        ("brats2021", 260, "260"),  # would be 4 in eight bits
        ("brats2021", -1, "-1"),
        ("brats2021", 255, "255"),
        ("brats2021", 1.5, "1.5"),
        ("brats2021", float("nan"), "nan"),
    ],
)
def test_an_unknown_value_is_reported_with_the_permitted_ones(convention: str, value: float, shown: str) -> None:
    allowed = ", ".join(str(v) for v in CONVENTIONS[convention])
    with pytest.raises(LabelError) as caught:
        encode_labels(np.array([0, 1, value]).reshape(1, 1, 3), convention)
    assert str(caught.value) == f"label value {shown} is not in convention {convention!r} ({allowed})"


def test_regions_are_nested_unions_of_tissues() -> None:
    nested = np.arange(4, dtype=np.uint8).reshape(1, 2, 2)
    wt, tc, et = to_regions_np(nested)
    assert wt.ravel().tolist() == [False, True, True, True]
    assert tc.ravel().tolist() == [False, False, True, True]
    assert et.ravel().tolist() == [False, False, False, True]
    assert np.array_equal(to_regions(torch.from_numpy(nested)[None])[0].numpy(), np.stack([wt, tc, et]))


def test_the_papers_cascade_by_hand() -> None:
    # WT < .45 -> background; else TC < .4 -> ED; else ET < .45 -> NCR; else ET (section 2.5).
    wt, tc, et = [0.44, 0.45, 0.9, 0.9, 0.2], [0.9, 0.39, 0.4, 0.4, 0.0], [0.9, 0.9, 0.44, 0.45, 0.0]
    probabilities = np.array([wt, tc, et], dtype=np.float32).reshape(3, 1, 1, 5)
    assert labels_from_probabilities(probabilities, (0.45, 0.4, 0.45)).ravel().tolist() == [0, 1, 2, 3, 0]
