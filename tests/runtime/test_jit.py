from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from brats_ablate.runtime.jit import jit

DOUBLED = """
import numpy as np
from brats_ablate.runtime.jit import jit

@jit
def double(values):
    for i in range(values.size):
        values[i] *= 2

values = np.arange(3.0)
double(values)
print(values.sum())
"""


def test_a_loop_says_the_same_compiled_and_interpreted() -> None:
    def add(values: np.ndarray, by: float) -> None:
        for i in range(values.size):
            values[i] += by

    fast, slow = np.arange(5, dtype=np.float32), np.arange(5, dtype=np.float32)
    jit(add)(fast, np.float32(0.5))
    add(slow, np.float32(0.5))
    assert np.array_equal(fast, slow)


def test_nothing_need_be_writable(tmp_path: Path) -> None:
    """Read from standard input, a loop has no file to be kept beside; and there is no home either."""
    environment = {"PATH": "", "HOME": "/proc/none", "XDG_CACHE_HOME": "/proc/none", "PYTHONPATH": ":".join(sys.path)}
    found = subprocess.run(
        [sys.executable, "-"], input=DOUBLED, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout) == (0, "6.0\n"), found.stderr
