"""What the outputs of nnU-Net's networks mean, as its dataset.json declares, compared with a label scheme."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brats_ablate.errors import DataError
from brats_ablate.labels.scheme import LabelScheme


@dataclass(frozen=True)
class DeclaredLabels:
    """The outputs of a network: exclusive labels (softmax) or regions (sigmoid)."""

    outputs: tuple[frozenset[int], ...]
    """The label values of each output, in order; exclusive labels begin with the background, {0}."""
    written: tuple[int, ...]
    """The value that nnU-Net writes where an output decides."""
    are_exclusive: bool

    @classmethod
    def of(cls, dataset: Mapping[str, Any], file: Path) -> DeclaredLabels:
        """Return the outputs that the content of a dataset.json declares; `file` is for messages.

        Raises:
            DataError: it declares none that nnU-Net would train on.
        """
        declared = dataset.get("labels")
        if not isinstance(declared, dict) or not all(_are_values(v) for v in declared.values()):
            raise DataError(f"{file} has no labels as nnU-Net v2 declares them; correct it")
        groups = [v if isinstance(v, list) else [v] for name, v in declared.items() if name != "ignore"]
        if not any(len(group) > 1 for group in groups):
            values = sorted(group[0] for group in groups)
            if values != list(range(len(values))):
                raise DataError(f"{file}: the labels {values} are not consecutive, as nnU-Net needs; correct it")
            return cls(tuple(frozenset({v}) for v in values), tuple(values), True)
        regions = [frozenset(group) for group in groups if set(group) != {0}]
        order = dataset.get("regions_class_order")
        if not isinstance(order, list) or len(order) != len(regions):
            raise DataError(f"{file}: regions_class_order does not name a value for each of the {len(regions)} regions")
        return cls(tuple(regions), tuple(order), False)

    def problem(self, labels: LabelScheme) -> str | None:
        """Return how the outputs differ from tissues and regions of `labels`; None if they mean the same."""
        known = labels.label_of_value
        values = sorted(set().union(*self.outputs, self.written) - {0})
        if unknown := [v for v in values if v not in known]:
            return (
                f"the label values {', '.join(map(str, values))}, of which {unknown[0]} is not in labels={labels.name}"
            )
        if self.are_exclusive:
            absent = [
                t for t, own in zip(labels.tissues, labels.file_values, strict=True) if not set(own) & set(values)
            ]
            return f"no label of {absent[0]}, which is in labels={labels.name}" if absent else None
        ours = [frozenset(members) for members in labels.labels_of_regions]
        theirs = [frozenset(known[value] for value in output) for output in self.outputs]
        if sorted(map(sorted, ours)) != sorted(map(sorted, theirs)):
            return f"other regions than the {', '.join(labels.regions)} of labels={labels.name}"
        channels = [ours.index(region) for region in theirs]
        for channel, value in zip(channels, self.written, strict=True):
            if known[value] != labels.label_left_by[channel]:
                return f"the value {value} for {labels.region_names[channel]}, unlike labels={labels.name}"
        if channels != sorted(channels):
            return f"an order of regions in which others decide than in labels={labels.name}"
        return None

    def classes_of_regions(self, labels: LabelScheme) -> list[list[int]]:
        """Return the exclusive outputs that each region of `labels` consists of, in its order."""
        label_of_output = [labels.label_of_value[value] for value in self.written]
        return [[i for i, own in enumerate(label_of_output) if own in members] for members in labels.labels_of_regions]


def require_labels(declared: DeclaredLabels, labels: LabelScheme, known: Sequence[LabelScheme], file: Path) -> None:
    """Check that nnU-Net's outputs mean what `labels` says; `known` are suggested where they do not.

    Raises:
        DataError: they mean something else.
    """
    problem = declared.problem(labels)
    if problem is None:
        return
    fitting = [s.name for s in known if s.has_regions_of(labels) and declared.problem(s) is None]
    remedy = f"set job.prediction_labels={' or '.join(fitting)}" if fitting else "no scheme of these regions fits it"
    raise DataError(f"{file} declares {problem}; {remedy}")


def _are_values(value: object) -> bool:
    values = value if isinstance(value, list) else [value]
    return bool(values) and all(isinstance(v, int) and not isinstance(v, bool) and v >= 0 for v in values)
