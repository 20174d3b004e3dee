"""The dataset.json of MSD and nnU-Net folders: what it says about channels and labels is obeyed or refused."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from brats_ablate.errors import DataError
from brats_ablate.labels.scheme import LabelScheme

_NOT_ENHANCING = re.compile(r"\b(non|not|un)[-_\s]*(contrast[-_\s]*)?enhanc", re.IGNORECASE)
_OUTER, _INNER, _ENHANCING, _CAVITY, _CYST = {"ED", "SNFH"}, {"NCR", "NETC", "NET"}, {"ET"}, {"RC"}, {"CC"}
_KINDS = (_OUTER, _INNER, _ENHANCING, _CAVITY, _CYST)


def read(root: Path) -> dict[str, Any] | None:
    """Return the content of the dataset.json in `root`; None if there is none.

    Raises:
        DataError: it cannot be read, or is no JSON object.
    """
    path = root / "dataset.json"
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON ({error}); correct or remove it") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is not a JSON object; correct or remove it")
    return content


def declared_order(root: Path, modality_of: Mapping[str, str], modalities: Sequence[str]) -> tuple[str, ...] | None:
    """Return the modality of each volume, or of each file number; None without a dataset.json.

    Args:
        root: the folder of the data set.
        modality_of: lower-case name -> modality.
        modalities: all that are needed.

    Raises:
        DataError: the file does not name each of the modalities once.
    """
    content = read(root)
    return None if content is None else order_in(content, root / "dataset.json", modality_of, modalities)


def order_in(
    content: Mapping[str, Any], path: Path, modality_of: Mapping[str, str], modalities: Sequence[str]
) -> tuple[str, ...]:
    """Return what `declared_order` does for the content of the file `path`."""
    declared = content.get("channel_names", content.get("modality"))
    names = declared if isinstance(declared, dict) else {}
    spelled = [str(names.get(str(i), "")).strip().lower() for i in range(len(names))]
    order = tuple(modality_of.get(name, "") for name in spelled)
    if sorted(m for m in order if m) != sorted(modalities):
        shown = "has no channel_names or modality" if declared is None else f"names the volumes {declared}"
        known = "; ".join(f"{m}: {', '.join(n for n, of in modality_of.items() if of == m)}" for m in modalities)
        raise DataError(
            f"{path} {shown}, which must be {', '.join(modalities)}, each once "
            f"(known names: {known}); correct it, or set data.layout.volumes"
        )
    return order


def check_labels(root: Path, labels: LabelScheme, known: Sequence[LabelScheme]) -> None:
    """Raise DataError if a dataset.json declares a tissue at another value than `labels`; `known` are suggested.

    Names that do not clearly mean one of edema, non-enhancing (necrotic) and enhancing tumor, cavity and cyst are
    ignored, and so are regions of several values.
    """
    content = read(root)
    declared = None if content is None else content.get("labels")
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
        raise DataError(
            f"{root / 'dataset.json'}: the key labels declares {listed}, which contradicts labels={labels.name}; "
            f"{remedy}"
        )


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
