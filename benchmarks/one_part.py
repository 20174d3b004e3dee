"""One part of the benchmark in a process of its own, in the peers' environment; `run.py` starts it.

python -m one_part step '{"work": "work/bench", …}' step.json
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from measuring import Options, to_json


def main() -> None:
    """Measure and write the tables."""
    name, described, out = sys.argv[1:]
    options = json.loads(described)
    cases = options.pop("cases")
    found = importlib.import_module(f"parts.{name}").measure(
        Options(work=Path(options.pop("work")), cases=Path(cases) if cases else None, **options)
    )
    Path(out).write_text(json.dumps(to_json(found), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
