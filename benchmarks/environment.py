"""The environment of the peer libraries: one interpreter for them and this project, with the same torch."""

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
    """Return the arguments of pip: the peers, this project, and its tested versions.

    Without `constraints.txt`, torch is pinned to the version of the running interpreter.
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
    """Return the Python of the environment; create the environment if it is missing or incomplete.

    Raises:
        SystemExit: The installation failed.
    """
    python, complete = folder / "bin" / "python", folder / ".complete"
    if complete.exists():
        return python
    print(f"installing the peers into {folder} (once; takes minutes)", flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    done = subprocess.run([str(python), "-m", "pip", "install", "--quiet", *requirements()], check=False)
    if done.returncode:
        sys.exit(f"{folder}: the peers could not be installed; see the message of pip above")
    complete.touch()
    return python
