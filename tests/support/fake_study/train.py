"""A stand-in for training with the same contract: a locked run directory, a status, an exact resume.

The "weights" are a chain of hashes, one link per step, which shows a lost or repeated step. FAKE_FAULTS (JSON:
experiment/fold → fault) makes runs fail.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time

from omegaconf import DictConfig

from brats_ablate.config.check import resolve
from brats_ablate.errors import RunFailed
from brats_ablate.launch.sweep import run_directory
from brats_ablate.runs.directory import RunDirectory, RunRecord
from brats_ablate.runs.identity import identity
from brats_ablate.runs.state import RunState
from brats_ablate.runtime import signals
from brats_ablate.runtime.files import write_json


def run(cfg: DictConfig, steps: int = 20, step_s: float = 0.02) -> None:
    """`steps` steps in 4 epochs."""
    directory = run_directory(cfg)
    signals.install_handlers()
    rank = int(os.environ.get("RANK", "0"))
    fault = json.loads(os.environ.get("FAKE_FAULTS", "{}")).get(f"{cfg.name}/{cfg.fold}", "")
    if fault.startswith("rank 1 raises") and rank == 1:
        time.sleep(0.5)
        raise RunFailed("the loss is not finite on rank 1; lower lr")
    if rank == 0:
        with directory.lock():
            _train(cfg, directory, fault, steps, step_s)
        return
    while (
        not signals.stop_requested() and (directory.status() or RunRecord(RunState.RUNNING)).state == RunState.RUNNING
    ):
        time.sleep(0.05)
    if signals.stop_requested():
        raise signals.Interrupted


def _train(cfg: DictConfig, directory: RunDirectory, fault: str, steps: int, step_s: float) -> None:
    if not directory.manifest():
        given = {"devices": os.environ.get("CUDA_VISIBLE_DEVICES"), "threads": os.environ.get("OMP_NUM_THREADS")}
        directory.write_manifest({"identity": identity(resolve(cfg)), **given})
    state_file = directory.path / "checkpoints" / "state.json"
    state = json.loads(state_file.read_text()) if state_file.exists() else {"step": 0, "weights": "", "starts": 0}
    state |= {"starts": state["starts"] + 1, "alive": [time.time(), 0.0]}
    for step in range(state["step"], steps):
        directory.write_status(RunRecord(RunState.RUNNING, 4 * step // steps, 4))
        if fault == "raises" and step == steps // 2:
            directory.write_status(
                RunRecord(RunState.FAILED, 4 * step // steps, 4, None, "the loss is not finite; lower lr")
            )
            raise RunFailed("the loss is not finite; lower lr")
        if fault == "killed" and step == steps // 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if fault.endswith("rank 0 notices") and step == steps // 2:
            raise ConnectionError("connection closed by peer")
        time.sleep(step_s)
        state |= {"step": step + 1, "weights": hashlib.sha256(f"{state['weights']}{step}".encode()).hexdigest()}
        if signals.stop_requested():
            write_json(state_file, state)
            directory.write_status(RunRecord(RunState.INTERRUPTED, 4 * (step + 1) // steps, 4))
            raise signals.Interrupted
    state["alive"][1] = time.time()
    write_json(state_file, state)
    dice = 0.5 + 0.01 * int(cfg.fold)
    directory.append(
        "metrics.jsonl", [{"epoch": 4, "dice": dice, "dice/WT": dice + 0.1, "dice/TC": dice, "dice/ET": dice - 0.1}]
    )
    directory.write_status(RunRecord(RunState.FINISHED, 4, 4, dice))
