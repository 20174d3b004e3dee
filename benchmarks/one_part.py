"""Measure one part of the benchmark in its own process, in the environment of the peers. Started by `run.py`.

python -m one_part step '{"work": "work/bench", …}' step.json
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from measuring import Options, to_json


def main() -> None:
    """Measure one part and write its tables."""
    name, request, out = sys.argv[1:]
    options = Options.of_request(**json.loads(request))
    tables = importlib.import_module(f"parts.{name}").measure(options)
    Path(out).write_text(json.dumps(to_json(tables), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
