"""Text for people: suggestions, durations, aligned columns."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from traceback import extract_tb


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that `word` most likely stands for; None if none is similar."""
    known = list(known)
    matches = difflib.get_close_matches(word, known, n=1) or difflib.get_close_matches(word.lower(), known, n=1)
    return next(iter(matches), None)


def suggest(word: str, known: Iterable[str], *, prefix: str = "", otherwise: str = "known are") -> str:
    """Return the end of a message about an unknown word.

    Examples:
        >>> suggest("epocs", ["epochs", "lr"], prefix="trainer.")
        'did you mean trainer.epochs?'
        >>> suggest("zzz", ["epochs", "lr"])
        'known are: epochs, lr'
    """
    known = list(known)
    match = closest(word, known)
    return f"did you mean {prefix}{match}?" if match else f"{otherwise}: {', '.join(known) or 'none'}"


def is_plain_name(name: str) -> bool:
    """Return whether `name` is a file or folder name that leads to no other folder, and is not hidden."""
    return bool(name) and name == printable(name).strip() and "/" not in name and not name.startswith(".")


def first_line(error: object) -> str:
    """Return the first line of an error or its text, without its final point or colon; its type if it has no text."""
    line, *_ = str(error).strip().splitlines() or [""]
    return line.rstrip(".:") or type(error).__name__


def failure(error: Exception) -> str:
    """Return type and first line of an error of another's code, and the place, unless the call itself failed."""
    file, line, *_ = extract_tb(error.__traceback__)[-1]
    is_inside = not {"hydra", "brats_ablate"} & set(Path(file).parts)
    return f"{type(error).__name__}: {first_line(error)}" + f"; {Path(file).name}, line {line}" * is_inside


def shell_quoted(text: str) -> str:
    """Return text as one word of a shell: in double quotes where that is enough, as a value may have single ones.

    Examples:
        >>> print(shell_quoted("data.raw='/a b/c'"))
        "data.raw='/a b/c'"
    """
    quoted = shlex.quote(text)
    return quoted if quoted == text or re.search(r'["$`!\\]', text) or "'" not in text else f'"{text}"'


def printable(text: str) -> str:
    """Return text without control characters, which could move a terminal's cursor or change its title."""
    return "".join(c for c in text if c.isprintable() or c in "\n\t")


def format_duration(seconds: float) -> str:
    """Return a duration as 3d04h, 2h10m, 5m or 40s."""
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if hours >= 24:
        return f"{hours // 24}d{hours % 24:02}h"
    if hours:
        return f"{hours}h{minutes % 60:02}m"
    return f"{minutes}m" if minutes else f"{int(seconds)}s"


def format_size(size: int) -> str:
    """Return a size on disk as 312 B, 4.0 KiB, 1.5 MiB, 20.3 GiB or 1.2 TiB."""
    if size < 1024:
        return f"{size} B"
    number, units = size / 1024, ["KiB", "MiB", "GiB", "TiB"]
    while number >= 1024 and len(units) > 1:
        number, units = number / 1024, units[1:]
    return f"{number:,.1f} {units[0]}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, as "1 run" and "2 runs"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def first_few(names: Sequence[str], most: int = 3) -> str:
    """Return the first names, and "…" for those left out."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def align(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as lines of left-aligned columns, two blanks apart."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    return "\n".join("  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)
