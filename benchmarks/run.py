"""`make bench`: compare this project with nnU-Net v2, MONAI and others on this machine.

    python benchmarks/run.py [--quick] [--parts step data …] [--cases /data/BraTS2021] [--rounds 3]

Installs the peer libraries into a separate environment, measures each part there in its own process, and writes all
results as JSON and as `docs/speed.md`. Nothing else should run on the machine at the same time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from environment import PEERS, ROOT, interpreter
from measuring import Options
from report import markdown, summary

PARTS = (
    *("step", "pipeline", "data", "store", "integrity", "prepare", "metrics", "official", "threshold"),
    *("inference", "window", "small", "startup"),
)
ONE_CORE = ("data", "store", "integrity", "prepare", "metrics", "official", "threshold", "small")
HERE = Path(__file__).resolve().parent

_ABOUT = """
import json, os, platform, sys
from importlib.metadata import PackageNotFoundError, version
import torch
def of(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return "-"
cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
print(json.dumps({
    "cpu": cpu, "cores": len(os.sched_getaffinity(0)),
    "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
    "instructions": [k for k in ("avx2", "avx512", "avx512_bf16", "amx_bf16") if torch.cpu.get_capabilities().get(k)]
        if hasattr(torch.cpu, "get_capabilities") else [],
    "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    "python": platform.python_version(),
    "versions": {name: of(name) for name in sys.argv[1:]},
}))
"""


def main() -> int:
    """Measure, print the ratios, write JSON and Markdown. Returns 1 if a part failed."""
    arguments = _arguments()
    python = Path(arguments.python) if arguments.python else interpreter(arguments.environment)
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "quick": arguments.quick,
        "cases": "real BraTS cases" if arguments.cases else "synthetic cases of BraTS size",
        "machine": _machine(python),
        "parts": _earlier(arguments.out) if arguments.keep else {},
    }
    failed = []
    for part in arguments.parts:
        tables = _measure(part, python, work, arguments)
        if tables is None:
            failed.append(part)
            continue
        results["parts"][part] = tables
        results["parts"] = {name: results["parts"][name] for name in PARTS if name in results["parts"]}
        print(summary(tables), flush=True)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if arguments.document:
        arguments.document.write_text(markdown(results), encoding="utf-8")
        print(f"{arguments.out} and {arguments.document} written")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    real = os.environ.get("BRATS_ABLATE_REAL_CASES")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="small sizes that only test the scripts")
    parser.add_argument(
        "--rounds", type=int, default=None, help="rounds of interleaved measurements (default 3; 1 with --quick)"
    )
    parser.add_argument(
        "--cases", type=Path, default=real, help="folder of raw cases, BraTS 2021 layout (or BRATS_ABLATE_REAL_CASES)"
    )
    parser.add_argument("--work", type=Path, default=ROOT / "work" / "bench", help="folder for prepared cases")
    parser.add_argument(
        "--environment", type=Path, default=ROOT / "work" / "bench-env", help="environment of the peers"
    )
    parser.add_argument("--python", help="an interpreter with the peers already installed")
    parser.add_argument("--out", type=Path, default=ROOT / "work" / "bench.json")
    parser.add_argument("--keep", action="store_true", help="keep the other parts of an existing --out file")
    parser.add_argument(
        "--document", type=Path, help="Markdown file to write (default docs/speed.md; none with --quick)"
    )
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 3)
    if arguments.document is None and not arguments.quick:
        arguments.document = ROOT / "docs" / "speed.md"
    return arguments


def _measure(part: str, python: Path, work: Path, arguments: argparse.Namespace) -> list[dict[str, Any]] | None:
    """Measure one part and return its tables, or None if it failed."""
    print(f"== {part}", flush=True)
    started = time.perf_counter()
    out = work / f"{part}.json"
    out.unlink(missing_ok=True)
    options = Options(work, arguments.cases or None, arguments.rounds, arguments.quick)
    environment = os.environ | ({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"} if part in ONE_CORE else {})
    command = [str(python), "-m", "one_part", part, json.dumps(options.as_request()), str(out)]
    done = subprocess.run(command, cwd=HERE, env=environment, check=False)
    print(f"   {time.perf_counter() - started:.0f} s", flush=True)
    return None if done.returncode else json.loads(out.read_text(encoding="utf-8"))


def _machine(python: Path) -> dict[str, Any]:
    names = ("torch", "numpy", *PEERS, "batchgenerators", "blosc2", "scipy")
    done = subprocess.run([str(python), "-c", _ABOUT, *names], capture_output=True, text=True, check=True)
    about: dict[str, Any] = json.loads(done.stdout)
    return about


def _earlier(out: Path) -> dict[str, Any]:
    return json.loads(out.read_text(encoding="utf-8"))["parts"] if out.exists() else {}


if __name__ == "__main__":
    sys.exit(main())
