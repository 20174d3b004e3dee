"""File names of a data set, as declared in `conf/data/layout`. Imports nothing heavy, as every command checks them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from brats_ablate.data.folders import stem

SEGMENTATION = "segmentation"
_FIELDS = ("{case}", "{modality}", "{number}")


@dataclass(frozen=True)
class Layout:
    """File names of a data set.

    A pattern is compared with the end of a file's path, without .nii or .nii.gz, regardless of upper and lower case.
    It contains {case}, and as an image's either {modality} (one of the modality's names), {number} (0000, 0001, …: one
    file per modality, as nnU-Net) or neither (one 4-D file of all modalities, as the MSD).

    Args:
        name: of the layout, for messages and records.
        images: pattern of the images.
        segmentations: pattern of the segmentations, in any folder below the data set's.
        modalities: modality -> its names in files or in dataset.json. The keys are the network's channels, in order.
        case: regular expression of a case id.
        patient: regular expression at the start of a case id; the patient is its first group, or all of it. None: each
            case is of a patient of its own.
        unlabeled: pattern of further images that never have a segmentation; not used to train.
        folder: regular expression of the folders that are reported if they have no image at all.
        volumes: modalities of the numbers, or of the volumes of a 4-D file; None for those of dataset.json, or the
            order of `modalities` where a 4-D data set has none.

    Raises:
        ValueError: a pattern or expression cannot work.
    """

    name: str
    images: str
    segmentations: str
    modalities: Mapping[str, Sequence[str]]
    case: str = ".+"
    patient: str | None = None
    unlabeled: str | None = None
    folder: str | None = None
    volumes: Sequence[str] | None = None

    def __post_init__(self) -> None:
        allowed = {"images": _FIELDS, "segmentations": ("{case}",), "unlabeled": _FIELDS}
        for key, fields in allowed.items():
            pattern = getattr(self, key)
            if pattern is not None and "{case}" not in pattern:
                raise ValueError(f"{key}={pattern} must contain {{case}}, e.g. {{case}}_{{modality}}")
            if unknown := [f for f in re.findall(r"\{[^}]*\}", pattern or "") if f not in fields]:
                raise ValueError(f"{key}={pattern} contains {unknown[0]}; only {', '.join(fields)} have a meaning")
            if pattern is not None and stem(pattern) != pattern:
                raise ValueError(f"{key}={pattern} must be without .nii and .nii.gz")
        if {"{modality}", "{number}"} <= _fields(self.images):
            raise ValueError(f"images={self.images} must contain one of {{modality}} and {{number}}, not both")
        if self.unlabeled is not None and _fields(self.unlabeled) != _fields(self.images):
            raise ValueError(f"unlabeled={self.unlabeled} must contain the same fields as images={self.images}")
        for key in ("case", "folder", "patient"):
            try:
                if "case" in re.compile(getattr(self, key) or "").groupindex:
                    raise re.error("the name of a group must not be case")
            except re.error as error:
                raise ValueError(f"{key}={getattr(self, key)} is not a regular expression ({error})") from None
        if single := next((m for m, names in self.modalities.items() if isinstance(names, str)), None):
            raise ValueError(f"modalities.{single}={self.modalities[single]} must be a list of names")
        names = [name.lower() for aliases in self.modalities.values() for name in aliases]
        if not names or not all(self.modalities.values()):
            raise ValueError("modalities must name at least one modality, each with its names in files")
        if doubled := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"modalities gives {min(doubled)} to two modalities")
        if self.volumes is not None and sorted(self.volumes) != sorted(self.modalities):
            raise ValueError(f"volumes={list(self.volumes)} must name each of {', '.join(self.modalities)} once")

    @property
    def is_numbered(self) -> bool:
        """Whether images are told apart by number."""
        return "{number}" in self.images

    @property
    def is_4d(self) -> bool:
        """Whether one file contains all modalities of a case."""
        return "{modality}" not in self.images and not self.is_numbered

    @cached_property
    def modality_of(self) -> Mapping[str, str]:
        """Lower-case name in files -> modality."""
        return {name.lower(): m for m, names in self.modalities.items() for name in names}

    def file_name(self, case_id: str, kind: str) -> str:
        """Return how the file of a modality, or of `SEGMENTATION`, is expected to be named."""
        pattern = self.segmentations if kind == SEGMENTATION else self.images
        name = pattern.replace("{case}", case_id).replace("{modality}", (self.modalities.get(kind) or [kind])[0])
        number = "<number>" if self.volumes is None or kind == SEGMENTATION else f"{list(self.volumes).index(kind):04d}"
        return name.replace("{number}", number) + ".nii.gz"

    def case_of(self, file: Path, pattern: str) -> str | None:
        """Return the case of a file that is named as `pattern`, one of the layout's; None if it is not."""
        match = self._match(file, pattern)
        return match["case"] if match else None

    def modality_in(self, file: Path, order: Sequence[str]) -> str | None:
        """Return the modality that an image's name tells, in any folder; None if it tells none.

        `order` has the modality of each number; "" for a number that has none.
        """
        fields = self.fields_in(file)
        if "number" in fields:
            number = int(fields["number"])
            return order[number] if number < len(order) else ""
        return self.modality_of[fields["modality"].lower()] if "modality" in fields else None

    def fields_in(self, file: Path) -> dict[str, str]:
        """Return what an image's name says of case, modality and number, in any folder; {} if it says nothing."""
        name = self.images.rpartition("/")[2]
        match = self._match(file, self.images)
        if match is None and _fields(name) - {"{case}"}:
            match = self._match(file, name)
        return match.groupdict() if match else {}

    def _match(self, file: Path, pattern: str) -> re.Match[str] | None:
        parts = (*file.absolute().parts[:-1], stem(file.name))
        return self.expression(pattern).fullmatch("/".join(parts[-pattern.count("/") - 1 :]))

    def expression(self, pattern: str) -> re.Pattern[str]:
        """Return the regular expression of a pattern, with groups case, modality and number."""
        aliases = "|".join(sorted(map(re.escape, self.modality_of), key=len, reverse=True))
        fields = {"case": self.case, "modality": aliases, "number": r"\d{4}"}
        parts, seen = [], set()
        for part in re.split(r"(\{case\}|\{modality\}|\{number\})", pattern):
            name = part.strip("{}") if part in _FIELDS else None
            if name is None:
                parts.append(re.escape(part))
            else:
                parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>{fields[name]})")
                seen.add(name)
        return re.compile("".join(parts), re.IGNORECASE)


def _fields(pattern: str) -> set[str]:
    return {field for field in _FIELDS if field in pattern}
