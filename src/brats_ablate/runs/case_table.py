"""The text of `cases.jsonl`: the Dice of every case in every validated epoch of a run.

    {"cases": ["BraTS2021_00000", …], "ET_reference": [311, …], "crc32": 3353398171}
    {"epoch": 1, "cases": 3353398171, "WT": "<base64>", "TC": "<base64>", "ET": "<base64>", "crc32": …}

A line of cases, with the voxels of their reference, precedes the epochs that name its checksum. An epoch has one array
per region, a little-endian float32 for each case; float64 where float32 would round; NaN where no number was measured.
`crc32` is the checksum of the text before it in the line. Version 0.1.0 wrote an object per epoch and case instead; one
file can have both. An epoch can occur twice, after a resume: the later line counts.
"""

from __future__ import annotations

import base64
import mmap
import re
import zlib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from brats_ablate.runtime.files import parse_object, to_json

SIZE = "_reference"
"""End of the key, after a region's name, of the voxels that a reference has of it."""
_EPOCH = re.compile(rb'\{"epoch": (\d+), "cases": (\d+), ')
_ROW = re.compile(rb'\{"epoch": (\d+), "case"')
_CASES = b'{"cases": '
_CHECKSUM = b', "crc32": '


@dataclass(frozen=True)
class CaseTable:
    """One validated epoch."""

    epoch: int
    cases: tuple[str, ...]
    dice: Mapping[str, np.ndarray]
    """Region -> (n,) float64; NaN where no number was measured."""
    sizes: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Region -> (n,) voxels of its reference; NaN where not recorded."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """An object per case, sorted by case id, as version 0.1.0 recorded them."""
        sizes = {f"{region}{SIZE}": [None if v != v else int(v) for v in a] for region, a in self.sizes.items()}
        dice = {region: [None if v != v else v for v in a.tolist()] for region, a in self.dice.items()}
        columns = dice | sizes
        rows = zip(self.cases, *columns.values(), strict=True)
        named = ({"epoch": self.epoch, "case": case} | dict(zip(columns, v, strict=True)) for case, *v in rows)
        return sorted(named, key=lambda row: str(row["case"]))


def case_lines(epoch: int, rows: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Return the line of cases and the line of an epoch for rows with `case`, a Dice per region, and voxels."""
    keys = [key for key in rows[0] if key != "case"]
    sizes = {key: [row[key] for row in rows] for key in keys if key.endswith(SIZE)}
    dice = {key: _encode([row[key] for row in rows]) for key in keys if not key.endswith(SIZE)}
    cases = _line({"cases": [row["case"] for row in rows]} | sizes)
    return cases, _line({"epoch": epoch, "cases": _checksum(cases.encode()), **dice})


def read_case_tables(file: Path, epochs: AbstractSet[int] | None = None) -> dict[int, CaseTable]:
    """Return the validated epochs in `file`, or those of `epochs`, sorted; {} if there is no file.

    Only these are decoded. Skips a last line without its line end.

    Raises:
        ValueError, TypeError, KeyError: the file is damaged.
    """
    if not file.exists():
        return {}
    if epochs is not None and (last := _read_from_end(file, epochs)) is not None:
        return last
    *lines, _ = file.read_bytes().split(b"\n")
    compact: dict[int, tuple[bytes, bytes]] = {}
    rows: dict[int, dict[str, dict[str, Any]]] = {}
    cases: dict[int, bytes] = {}
    for line in lines:
        if match := _EPOCH.match(line):
            epoch, of = map(int, match.groups())
            if epochs is None or epoch in epochs:
                if of not in cases:
                    raise ValueError(f"the line of the cases of epoch {epoch} is missing")
                compact[epoch] = (cases[of], line)
                rows.pop(epoch, None)
        elif line.startswith(_CASES):
            _decode_cases(line)  # checks it, also if no epoch needs it
            cases[_checksum(line)] = line
        elif line and ((match := _ROW.match(line)) is None or epochs is None or int(match[1]) in epochs):
            row = parse_object(line)
            if epochs is None or row["epoch"] in epochs:
                rows.setdefault(_integer(row["epoch"]), {})[row["case"]] = row
                compact.pop(row["epoch"], None)
    tables = {epoch: _decode(epoch, *texts) for epoch, texts in compact.items()}
    tables |= {epoch: _table(epoch, list(of_case.values())) for epoch, of_case in rows.items()}
    return dict(sorted(tables.items()))


def _read_from_end(file: Path, epochs: AbstractSet[int]) -> dict[int, CaseTable] | None:
    """Read the last lines only, up to the first of `epochs`; None if they are not of the cases in the first line."""
    if file.stat().st_size == 0:
        return {}
    found: dict[int, bytes] = {}
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        cases = stream.readline().rstrip(b"\n")
        if not cases.startswith(_CASES):
            return None
        end = content.rfind(b"\n")
        while end > 0 and len(found) < len(epochs):
            start = content.rfind(b"\n", 0, end) + 1
            line = content[start:end]
            if match := _EPOCH.match(line):
                epoch, of = map(int, match.groups())
                if of != _checksum(cases):
                    return None
                if epoch in epochs:
                    found.setdefault(epoch, line)
            elif not line.startswith(_CASES):
                return None
            end = start - 1
    return {epoch: _decode(epoch, cases, found[epoch]) for epoch in sorted(found)}


def _line(content: Mapping[str, object]) -> str:
    text = to_json(content)[:-1]
    return f"{text}{_CHECKSUM.decode()}{zlib.crc32(text.encode())}}}\n"


def _checksum(line: bytes) -> int:
    """Return the recorded checksum of a line."""
    return int(line.rstrip(b"}\n").rpartition(_CHECKSUM)[2])


def _checked(line: bytes) -> dict[str, Any]:
    """Return the object of a line without its checksum."""
    text, _, checksum = line.rpartition(_CHECKSUM)
    if checksum != b"%d}" % zlib.crc32(text):
        raise ValueError(f"the checksum of the line {line[:40].decode(errors='replace')!r}… is wrong")
    return parse_object(text + b"}")


def _encode(values: Sequence[float | None]) -> str:
    exact = np.array(values, dtype="<f8")  # None becomes NaN
    exact[~np.isfinite(exact)] = np.nan
    short = exact.astype("<f4")
    return base64.b64encode((short if np.array_equal(short, exact, equal_nan=True) else exact).tobytes()).decode()


def _decode(epoch: int, cases: bytes, line: bytes) -> CaseTable:
    names, sizes = _decode_cases(cases)
    content = _checked(line)
    dice = {}
    for region, text in list(content.items())[2:]:
        packed = base64.b64decode(text)
        dice[region] = np.frombuffer(packed, "<f4" if len(packed) == 4 * len(names) else "<f8").astype(float)
        if len(dice[region]) != len(names):
            raise ValueError(f"epoch {epoch} has {len(dice[region])} Dice of {region} for {len(names)} cases")
    return CaseTable(epoch, names, dice, sizes)


@lru_cache(maxsize=64)
def _decode_cases(line: bytes) -> tuple[tuple[str, ...], Mapping[str, np.ndarray]]:
    """Return ids and voxels of a line of cases, the same objects for all runs that have it."""
    content = _checked(line)
    names = tuple(content.pop("cases"))
    return names, {key.removesuffix(SIZE): np.array(values, dtype=float) for key, values in content.items()}


def _table(epoch: int, rows: Sequence[Mapping[str, Any]]) -> CaseTable:
    """Return the rows of an epoch of version 0.1.0 as a table.

    Raises:
        ValueError, TypeError: a row lacks a Dice that another has, or has something else than numbers and null.
    """
    keys = list(dict.fromkeys(key for row in rows for key in row if key not in ("epoch", "case")))
    for row in rows:
        if lacking := [key for key in keys if key not in row and not key.endswith(SIZE)]:
            raise ValueError(f"no {lacking[0]} for {row['case']} in epoch {epoch}")
        if other := [key for key in keys if not isinstance(row.get(key), int | float | None)]:
            raise TypeError(f"{other[0]} is {row[other[0]]!r}")
    columns = {key: np.array([row.get(key) for row in rows], dtype=float) for key in keys}
    return CaseTable(
        epoch,
        tuple(row["case"] for row in rows),
        {key: values for key, values in columns.items() if not key.endswith(SIZE)},
        {key.removesuffix(SIZE): values for key, values in columns.items() if key.endswith(SIZE)},
    )


def _integer(epoch: object) -> int:
    if not isinstance(epoch, int):
        raise TypeError(f"epoch is {epoch!r}")
    return epoch
