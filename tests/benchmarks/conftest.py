"""Make the benchmark scripts importable: they are not a package and import each other from their folder."""

from __future__ import annotations

import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"
if str(SCRIPTS) not in sys.path:
    sys.path.append(str(SCRIPTS))
