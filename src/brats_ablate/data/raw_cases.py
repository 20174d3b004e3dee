"""Find the cases of a raw data set by file name, as its layout declares.

Only a dataset.json is opened (`dataset_json`). Missing or duplicate files are reported by `validation.validate_files`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from brats_ablate.cases import RawCase
from brats_ablate.data.dataset_json import declared_order, find
from brats_ablate.data.folders import stem, walk
from brats_ablate.data.folds import with_patients
from brats_ablate.data.layouts import SEGMENTATION, Layout
from brats_ablate.errors import ConfigError, DataError
from brats_ablate.runtime.text import first_few


def find_cases(
    root: Path,
    layout: Layout,
    *,
    need_segmentation: bool,
    known: Mapping[str, Layout] | None = None,
    key: str = "data.raw",
) -> list[RawCase]:
    """Return the cases below `root`, sorted by id, complete or not.

    Args:
        root: the folder of the data set; it is searched to any depth (HGG/LGG subfolders, for example).
        layout: the file names.
        need_segmentation: leave `unlabeled` images out. A case that lacks its segmentation is still returned, for
            `validation.validate_files` to report.
        known: layouts to suggest if there is no case, by the option that chooses them.
        key: what gave `root`, for messages.

    Returns:
        RawCase objects; a missing modality is absent from `images`. An id whose files occur twice is returned twice.

    Raises:
        ConfigError: `root` is not a folder.
        DataError: `root` or a folder below it cannot be read, or contains no case; or its dataset.json is wrong.
    """
    if not root.is_dir():
        raise ConfigError(f"{root} is not a folder; point {key} at the unpacked data set")
    found = _Found(root, layout)
    cases = found.cases(need_segmentation)
    if not cases:
        fitting = [option for option, other in (known or {}).items() if _Found(root, other).files]
        looks = f", its files look like data/layout={' or '.join(fitting)}" if fitting else ""
        names = [name for of_folder in found.unrecognized.values() for name in of_folder]
        listed = f"; not recognized: {first_few(names)}" if names else ""
        example = layout.file_name("<case>", next(iter(layout.modalities)))
        raise DataError(
            f"{root} contains no case of layout {layout.name!r} (such as {example}){looks}{listed}; check {key} and "
            "data/layout"
        )
    return cases


class _Found:
    """The files below a folder, sorted by case and kind."""

    def __init__(self, root: Path, layout: Layout) -> None:
        self.root, self.layout = root, layout
        self.files: dict[str, dict[str, dict[Path, Path]]] = defaultdict(lambda: defaultdict(dict))
        """Case id -> modality, number, "4-D" or `SEGMENTATION` -> path without ending -> file, the last where there are
        two, x.nii.gz instead of x.nii."""
        self.unlabeled: dict[str, dict[str, dict[Path, Path]]] = defaultdict(lambda: defaultdict(dict))
        self.unrecognized: dict[Path, list[str]] = {}
        self.empty: list[str] = []
        patterns = [(layout.segmentations, self.files), (layout.images, self.files)]
        patterns += [(layout.unlabeled, self.unlabeled)] if layout.unlabeled else []
        compiled = [(layout.expression(p), p.count("/") + 1, into) for p, into in patterns]
        for where, subfolders, volumes in walk(root):
            unknown = []
            for name, path in volumes.items():
                parts = (root.resolve().name, *where.relative_to(root).parts, stem(name))
                for expression, depth, into in compiled:
                    match = expression.fullmatch("/".join(parts[-depth:]))
                    if match is not None:
                        into[match["case"]][self._kind(match)][where / stem(name)] = path
                        break
                else:
                    unknown.append(name)
            self.unrecognized[where] = unknown
            if layout.folder and not subfolders and not volumes and re.fullmatch(layout.folder, where.name, re.I):
                self.empty.append(where.name)

    def _kind(self, match: re.Match[str]) -> str:
        fields = match.groupdict()
        if match.re.pattern == self.layout.expression(self.layout.segmentations).pattern:
            return SEGMENTATION
        modality = fields.get("modality")
        return self.layout.modality_of[modality.lower()] if modality else fields.get("number") or "4-D"

    def cases(self, need_segmentation: bool) -> list[RawCase]:
        """Return the cases, sorted by id."""
        found = list(self.files.items())
        found += [] if need_segmentation else list(self.unlabeled.items())
        cases = [RawCase(case_id, case_id, {}, None) for case_id in self.empty if case_id not in self.files]
        order = self._order() if found and "{modality}" not in self.layout.images else ()
        for case_id, files in found:
            kinds = {kind: list(paths.values()) for kind, paths in files.items()}
            images = {k: paths for k, paths in kinds.items() if k != SEGMENTATION}
            for i in range(max(map(len, kinds.values()))):
                one = {k: paths[min(i, len(paths) - 1)] for k, paths in images.items()}
                segmentations = kinds.get(SEGMENTATION, [None])
                segmentation = segmentations[min(i, len(segmentations) - 1)]
                cases.append(
                    RawCase(case_id, case_id, self._images(one, order), segmentation, self._unrecognized(kinds))
                )
        found_cases = sorted(cases, key=lambda case: case.case_id)
        return found_cases if self.layout.patient is None else with_patients(found_cases, self.layout.patient)

    def _images(self, files: Mapping[str, Path], order: Sequence[str]) -> dict[str, tuple[Path, int | None]]:
        """Return modality -> file and volume, in the order of the channels."""
        if self.layout.is_4d:
            return {
                m: (files["4-D"], order.index(m) if len(order) > 1 else None)
                for m in self.layout.modalities
                if "4-D" in files
            }
        if self.layout.is_numbered:
            files = {order[int(k)]: path for k, path in files.items() if int(k) < len(order)}
        return {m: (files[m], None) for m in self.layout.modalities if m in files}

    def _order(self) -> Sequence[str]:
        """Return the modality of each volume or number."""
        if self.layout.volumes is not None:
            return self.layout.volumes
        images = [
            path
            for files in (*self.files.values(), *self.unlabeled.values())
            for kind, paths in files.items()
            if kind != SEGMENTATION
            for path in paths
        ]
        declared = declared_order(find(self.root, images), self.layout.modality_of, tuple(self.layout.modalities))
        if declared is not None:
            return declared
        if self.layout.is_numbered:
            raise DataError(
                f"{self.root / 'dataset.json'} does not exist, so what the numbers of the files mean is unknown; "
                f"add it, or set data.layout.volumes=[{','.join(self.layout.modalities)}] in the order of the numbers"
            )
        return tuple(self.layout.modalities)

    def _unrecognized(self, kinds: Mapping[str, Sequence[Path]]) -> tuple[str, ...]:
        folders = dict.fromkeys(folder for paths in kinds.values() for path in paths for folder in path.parents)
        return tuple(name for folder in folders for name in self.unrecognized.get(folder, ()))
