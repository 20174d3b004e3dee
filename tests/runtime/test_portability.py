"""What other systems lack is not needed to start: simulated, as none of them runs here."""

from __future__ import annotations

import subprocess
import sys

import pytest

WITHOUT = """
import errno, os
for module, names in ((os, ("sched_getaffinity", "sched_setaffinity", "posix_fadvise")), (errno, ("EREMOTEIO",))):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
"""
IMPORT_ALL = """
import importlib, pkgutil, brats_ablate
names = [m.name for m in pkgutil.walk_packages(brats_ablate.__path__, "brats_ablate.") if "__main__" not in m.name]
for name in names:
    importlib.import_module(name)
from brats_ablate.runtime.memory import peak_memory_bytes, disable_malloc_trim
from brats_ablate.runtime.workers import available_cores
import platform, torch
platform.system, platform.libc_ver = lambda: "Darwin", lambda: ("", "")
print(len(names) > 100, available_cores() >= 1, disable_malloc_trim(), peak_memory_bytes(torch.device("cpu")) > 2**16)
"""


@pytest.mark.slow
def test_every_module_is_imported_without_what_macos_lacks() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT + IMPORT_ALL], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True", "True", "False", "True"], done.stderr
