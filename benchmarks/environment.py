"""The peers' environment: one interpreter in which they and this project run with the same torch."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PEERS = (
    "nnunetv2",
    "batchgeneratorsv2",
    "dynamic-network-architectures",
    "monai",
    "medpy",
    "surface-distance",
)
ROOT = Path(__file__).resolve().parents[1]


def requirements(root: Path = ROOT) -> list[str]:
    """pip's arguments: the peers, this project, and the versions that it is tested with.

    Without `constraints.txt` torch is held at the version of the running interpreter.
    """
    constraints = root / "constraints.txt"
    if constraints.exists():
        return [*PEERS, "--constraint", str(constraints), "--editable", str(root)]
    try:
        torch = [f"torch=={version('torch').split('+')[0]}"]
    except PackageNotFoundError:
        torch = []
    return [*PEERS, *torch, "--editable", str(root)]


def interpreter(folder: Path) -> Path:
    """The environment's Python; makes the environment if it is not there or an installation was broken off.

    Raises:
        SystemExit: the installation failed.
    """
    python, complete = folder / "bin" / "python", folder / ".complete"
    if complete.exists():
        return python
    print(f"installing the peers into {folder} (once; some minutes)", flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    done = subprocess.run([str(python), "-m", "pip", "install", "--quiet", *requirements()], check=False)
    if done.returncode:
        sys.exit(f"the peers could not be installed into {folder}; see pip's message above")
    complete.touch()
    return python
