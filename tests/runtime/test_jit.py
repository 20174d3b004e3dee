from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from numba.core.registry import CPUDispatcher

import brats_ablate
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


def test_a_loop_gives_the_same_compiled_and_interpreted() -> None:
    def add(values: np.ndarray, by: float) -> None:
        for i in range(values.size):
            values[i] += by

    fast, slow = np.arange(5, dtype=np.float32), np.arange(5, dtype=np.float32)
    jit(add)(fast, np.float32(0.5))
    add(slow, np.float32(0.5))
    assert np.array_equal(fast, slow)


@pytest.mark.slow
def test_nothing_need_be_writable(tmp_path: Path) -> None:
    """Read from standard input, a loop has no file next to which a cache could lie; and there is no home either."""
    environment = {"PATH": "", "HOME": "/proc/none", "XDG_CACHE_HOME": "/proc/none", "PYTHONPATH": ":".join(sys.path)}
    process = subprocess.run(
        [sys.executable, "-"], input=DOUBLED, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (process.returncode, process.stdout) == (0, "6.0\n"), process.stderr


PACKAGE = Path(brats_ablate.__file__).parent
FILES = [file.relative_to(PACKAGE.parent) for file in PACKAGE.rglob("*.py") if "\n@jit\n" in file.read_text()]


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_loop_is_in_the_file_of_the_loops_that_it_calls(file: Path) -> None:
    """The cache of a compiled loop is invalidated by changes to its own file only."""
    module = import_module(".".join(file.with_suffix("").parts))
    loops = [value for value in vars(module).values() if isinstance(value, CPUDispatcher)]
    assert loops
    for function in [loop.py_func for loop in loops]:
        called = [function.__globals__.get(name) for name in function.__code__.co_names]
        assert {c.__module__ for c in called if isinstance(c, CPUDispatcher)} <= {function.__module__}
