"""`python -m <module>` or `python <file>` in a process that starts warm: forked from one that has the large packages.

Importing torch, Hydra and numba takes most of the time of a short command, and the tests run hundreds. A forked process
has its own memory, current directory, environment, outputs and exit code, as one that was started has; only the
packages of others are imported already. The project's own modules are imported anew by each.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PACKAGES = (
    *("numpy", "scipy.ndimage", "scipy.stats", "pandas", "nibabel", "numba", "blosc2", "rich.console", "rich.progress"),
    *("torch", "torch._dynamo", "torch.utils.flop_counter", "hydra", "hydra.core.hydra_config", "omegaconf"),
)
READ_ON_IMPORT = ("OMP_", "MKL_", "KMP_", "NUMBA_", "TORCH", "PYTORCH_", "PYTHON", "CUDA_", "LD_", "ATEN_", "DNNL_")
"""Start of the names of variables that an imported package has read, so that a change of them would have no effect.

PYTHONPATH is none of them: a process adds its own folders."""


def run(
    module: str, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], stderr: int, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run `python -m module arguments` to its end, as `subprocess.run` with text output.

    Args:
        module: the name of a package with a `__main__`, or of a module; or the path of a script.
        arguments: of the command line.
        folder: current directory.
        environment: all variables.
        stderr: subprocess.STDOUT for both outputs in one stream, subprocess.PIPE to have them apart.
        timeout_s: kills the process.

    Raises:
        subprocess.TimeoutExpired: the process was killed.
    """
    read = {k: v for k, v in environment.items() if k.startswith(READ_ON_IMPORT) and k != "PYTHONPATH"}
    server = _server(tuple(sorted(read.items())))
    args = [sys.executable, "-m", module, *arguments]
    with tempfile.TemporaryDirectory() as outputs:
        files = [Path(outputs) / name for name in ("stdout", "stderr")]
        request: dict[str, Any] = {"module": module, "arguments": list(arguments), "folder": str(folder)}
        request |= {"environment": dict(environment), "stdout": str(files[0])}
        request["stderr"] = str(files[1]) if stderr == subprocess.PIPE else None
        code = server.ask(request, timeout_s)
        if code is None:
            _server.cache_clear()
            raise subprocess.TimeoutExpired(args, timeout_s)
        stdout, errors = (file.read_text() if file.exists() else None for file in files)
        return subprocess.CompletedProcess(args, code, stdout, errors)


class _Server:
    """The process that imports the packages and forks; it ends with this one."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            env={k: v for k, v in os.environ.items() if not k.startswith(READ_ON_IMPORT)} | dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        atexit.register(self.kill)

    def ask(self, request: Mapping[str, Any], timeout_s: float) -> int | None:
        """Return the exit code of a forked process; None if it took too long."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], timeout_s)[0]:
            self.kill()
            return None
        return int(self.process.stdout.readline())

    def kill(self) -> None:
        """Kill the server and what it forked."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


@functools.cache
def _server(environment: tuple[tuple[str, str], ...]) -> _Server:
    return _Server(dict(environment))


def serve() -> None:
    """Import the packages; fork for each request of the standard input and write its exit code."""
    answers = os.fdopen(os.dup(1), "w")
    for package in PACKAGES:
        importlib.import_module(package)
    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            answers.close()
            become(json.loads(line))
            return
        answers.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        answers.flush()


def become(request: dict[str, Any]) -> None:
    """Turn this process into what was requested; an exception of it ends the process as usual."""
    import numpy as np

    sys.stdin.close()
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(request["stdout"], flags), 1)
    os.dup2(os.open(request["stderr"], flags) if request["stderr"] else 1, 2)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  # for as long as the process lives
    signal.signal(signal.SIGINT, signal.default_int_handler)
    np.random.seed()  # the state that every fork would share
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = [request["module"], *request["arguments"]]
    script = Path(request["module"]) if os.sep in request["module"] else None
    first = script.parent if script else request["folder"]
    sys.path[:1] = [str(first), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    if script:
        runpy.run_path(str(script), run_name="__main__")
    else:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve()
