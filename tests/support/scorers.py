"""The scorer of `metrics=default`; tests/metrics/test_options.py compares it with the YAML file."""

from brats_ablate.metrics.case_metrics import CaseMetrics

DEFAULT = CaseMetrics(
    name="default",
    hd95="brats2023",
    one_empty_mm=373.13,
    false_positive_sensitivity=1.0,
    tolerance_mm=1.0,
    lesion_dilation=3,
    lesion_above_mm3=50.0,
    lesion_missed_mm=374.0,
    extra={},
)
