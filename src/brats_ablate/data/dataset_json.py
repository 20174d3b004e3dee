"""The dataset.json of MSD and nnU-Net folders: what it says about channels and labels is obeyed or refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from brats_ablate.errors import DataError
from brats_ablate.labels.scheme import LabelScheme

_NOT_ENHANCING = re.compile(r"\b(non|not|un)[-_\s]*(contrast[-_\s]*)?enhanc", re.IGNORECASE)
_OUTER, _INNER, _ENHANCING, _CAVITY, _CYST = {"ED", "SNFH"}, {"NCR", "NETC", "NET"}, {"ET"}, {"RC"}, {"CC"}
_KINDS = (_OUTER, _INNER, _ENHANCING, _CAVITY, _CYST)


def find(root: Path, images: Iterable[Path]) -> list[Path]:
    """Return each dataset.json that is in the nearest folder above an image: below `root`, in it, or next to it."""
    top = root.absolute()
    found = set()
    for folder in {image.absolute().parent for image in images}:
        above = [folder, *(parent for parent in folder.parents if parent.is_relative_to(top))]
        above += [top.parent] if folder == top else []  # raw=…/imagesTr
        found |= set([path for place in above if (path := place / "dataset.json").exists()][:1])
    return sorted(found)


def read(path: Path) -> dict[str, Any]:
    """Return the content of a dataset.json.

    Raises:
        DataError: it cannot be read, or is no JSON object.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON ({error}); correct or remove it") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is not a JSON object; correct or remove it")
    return content


def declared_order(
    paths: Iterable[Path], modality_of: Mapping[str, str], modalities: Sequence[str]
) -> tuple[str, ...] | None:
    """Return the modality of each volume, or of each file number; None without a dataset.json.

    Args:
        paths: the files of the data set.
        modality_of: lower-case name -> modality.
        modalities: all that are needed.

    Raises:
        DataError: a file does not name each of the modalities once, or two have different orders.
    """
    orders = {order_in(read(path), path, modality_of, modalities): path for path in paths}
    if len(orders) > 1:
        one, other = list(orders.values())[:2]
        raise DataError(
            f"{one} and {other} declare different orders of volumes; point data.raw at one of their folders"
        )
    return next(iter(orders), None)


def order_in(
    content: Mapping[str, Any],
    path: Path,
    modality_of: Mapping[str, str],
    modalities: Sequence[str],
    key: str = "data.layout.volumes",
) -> tuple[str, ...]:
    """Return the order that the content of the file `path` declares, as `declared_order`; `key` can say it, too."""
    declared = content.get("channel_names", content.get("modality"))
    names = declared if isinstance(declared, dict) else {}
    spelled = [str(names.get(str(i), "")).strip().lower() for i in range(len(names))]
    order = tuple(modality_of.get(name, "") for name in spelled)
    if sorted(m for m in order if m) != sorted(modalities):
        shown = "has no channel_names or modality" if declared is None else f"names the volumes {declared}"
        known = "; ".join(f"{m}: {', '.join(n for n, of in modality_of.items() if of == m)}" for m in modalities)
        raise DataError(
            f"{path} {shown}, which must be {', '.join(modalities)}, each once "
            f"(known names: {known}); correct it, or set {key}"
        )
    return order


def check_labels(path: Path, labels: LabelScheme, known: Sequence[LabelScheme]) -> None:
    """Raise DataError if the file `path` declares a tissue at another value than `labels`; `known` are suggested.

    Names that do not clearly mean one of edema, non-enhancing (necrotic) and enhancing tumor, cavity and cyst are
    ignored, and so are regions of several values.
    """
    declared = read(path).get("labels")
    meant: dict[int, tuple[str, set[str]]] = {}
    for key, value in declared.items() if isinstance(declared, dict) else ():
        number, name = (key, value) if str(key).isdecimal() else (value, key)  # MSD value: name; nnU-Net name: value
        tissues = _meant_tissues(str(name))
        if len(tissues) == 1 and str(number).isdecimal():
            meant[int(number)] = (str(name), tissues[0])
    wrong = [value for value in sorted(meant) if not _fits(labels, value, meant[value][1])]
    if wrong:
        fitting = [s.name for s in known if all(_at(s, v) & tissue for v, (_, tissue) in meant.items())]
        remedy = f"set labels={' or '.join(fitting)}, or correct it" if fitting else "correct it"
        listed = ", ".join(f"{value} {meant[value][0]}" for value in wrong)
        raise DataError(f"{path}: the key labels declares {listed}, which contradicts labels={labels.name}; {remedy}")


def _fits(labels: LabelScheme, value: int, tissues: set[str]) -> bool:
    if here := _at(labels, value):
        return bool(here & tissues) or not here & set().union(*_KINDS)
    return not tissues & set(labels.tissues)


def _at(labels: LabelScheme, value: int) -> set[str]:
    return {tissue for tissue, values in zip(labels.tissues, labels.file_values, strict=True) if value in values}


def _meant_tissues(name: str) -> list[set[str]]:
    abbreviated = [kind for kind in _KINDS if name.strip().upper() in kind]
    name = name.lower()
    without = _NOT_ENHANCING.sub("", name)
    clues = (
        "edema" in name or "hyperintens" in name,
        "necro" in name or without != name,
        "enhanc" in without,
        "cavity" in name,
        "cyst" in name,
    )
    return abbreviated or [kind for kind, is_meant in zip(_KINDS, clues, strict=True) if is_meant]
