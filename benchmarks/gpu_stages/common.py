"""What the stages share: options, configurations as the command line makes them, times, errors, the command itself."""

from __future__ import annotations

import importlib
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from omegaconf import DictConfig

    from brats_ablate.models.base import SegmentationModel
    from brats_ablate.training.precision import Precision

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS_S = 300
"""Limit of `experiments compiled`, which starts nothing that it would interrupt."""


@dataclass(frozen=True)
class Options:
    """Options of all stages."""

    prepared: Path
    out: Path
    tiny: bool
    compile_only: bool = False
    """Call each compiled function once, for Inductor's cache."""
    until: float = math.inf
    """When the budget is spent, as `time.time()`."""
    result: Path | None = None
    """File of what the stage finds."""

    @property
    def work(self) -> Path:
        """Folder of the runs, of Inductor's cache, and of other temporary files; emptied by the next check."""
        return self.out / "stages"

    @property
    def edge(self) -> int:
        """Edge of a patch in voxels."""
        return 32 if self.tiny else 128

    @cached_property
    def device(self) -> torch.device:
        """The GPU; the CPU without one, as `--tiny` allows."""
        import torch

        if torch.cuda.is_available():
            torch.cuda.set_device(0)
            return torch.device("cuda", 0)
        if not self.tiny:
            raise SystemExit("there is no GPU that torch can use; check nvidia-smi, or test the script with --tiny")
        return torch.device("cpu")

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    def keep(self, found: dict[str, Any]) -> None:
        """Write what the stage has found so far, which is its result if it fails or is killed later."""
        from brats_ablate.runtime.files import finite_or_null, write_json

        if self.result is not None:
            write_json(part_of(self.result), finite_or_null(found))

    def as_request(self) -> dict[str, Any]:
        """Return the options as plain data, for a subprocess."""
        return {"prepared": str(self.prepared), "out": str(self.out), "tiny": self.tiny}


def part_of(result: Path) -> Path:
    """Return the file of what a stage has found so far."""
    return result.with_suffix(".part")


def measure(stage: str, request: dict[str, Any], result: Path) -> None:
    """Measure a stage in this process and write what it returns as JSON, as if the process had measured no other."""
    import torch

    from brats_ablate.runtime.files import finite_or_null, write_json
    from brats_ablate.runtime.memory import reset_peak_memory

    options = Options(Path(request.pop("prepared")), Path(request.pop("out")), **request, result=result)
    module, *words = stage.split()
    torch.backends.cudnn.benchmark = False
    torch._dynamo.reset()
    found = importlib.import_module(f"gpu_stages.{module}").measure(options, words)
    reset_peak_memory(options.device)
    write_json(result, finite_or_null(found))


def compose(*overrides: str) -> DictConfig:
    """Compose a configuration as the command line does."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        return hydra_compose("config", list(overrides))


def small(options: Options) -> list[str]:
    """Return the overrides of a patch of `options.edge`, and of a thin network if it is tiny."""
    shape = f"patches.shape=[{options.edge},{options.edge},{options.edge}]"
    return [shape, "encoder.channels=[8,16,32,32]"] if options.tiny else [shape]


def data_of(options: Options) -> str:
    """Return the override of the prepared cases."""
    return f"paths.prepared={options.prepared}"


def build(options: Options, cfg: DictConfig, precision: str = "auto") -> tuple[SegmentationModel, Precision]:
    """Build the network of `cfg` on the device, as training does."""
    from brats_ablate.jobs import build as jobs_build
    from brats_ablate.training.precision import Precision

    resolved = Precision.resolve(precision, options.device)
    resolved.allow_tf32()
    model = jobs_build.build_model(cfg)
    resolved.force_fp32_on_flat_inputs(model)
    return jobs_build.execute_on(model, options.device), resolved


def batch_of(options: Options, cfg: DictConfig, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw random images and labels of `batch` patches, channels last."""
    import torch

    from brats_ablate.jobs import build as jobs_build

    shape = list(cfg.patches.shape)
    images = torch.randn(batch, jobs_build.input_channels(cfg), *shape, device=options.device)
    labels = torch.randint(0, 4, (batch, *shape), device=options.device, dtype=torch.uint8)
    return images.contiguous(memory_format=torch.channels_last_3d), labels


def step_of(cfg: DictConfig, model: SegmentationModel, precision: Precision, network: Any) -> Callable[..., Any]:
    """Return a training step (images, labels) -> loss of `network`, which is `model` or wraps it."""
    from brats_ablate.jobs import build as jobs_build

    loss_of, optimizer = jobs_build.build_loss(cfg), jobs_build.build_optimizer(cfg, model)

    def step(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with precision.autocast():
            loss, _ = loss_of(network(images), labels, images)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def milliseconds(work: Callable[[], object], count: int, warm_up: int = 2) -> float:
    """Return the mean time of `count` calls back to back, as training has them."""
    import torch

    for _ in range(warm_up):
        work()
    if not torch.cuda.is_available():
        started = time.perf_counter()
        for _ in range(count):
            work()
        return 1e3 * (time.perf_counter() - started) / count
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    for _ in range(count):
        work()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / count


def peak_gib() -> float:
    """Return the peak of allocated GPU memory since it was reset, 0 on a CPU."""
    import torch

    return round(torch.cuda.max_memory_allocated() / 2**30, 2) if torch.cuda.is_available() else 0.0


def relative_error(found: torch.Tensor, truth: torch.Tensor) -> float:
    """Return ‖found − truth‖ / ‖truth‖ in float64; infinity for anything not finite."""
    found, truth = found.detach().double().cpu(), truth.detach().double().cpu()
    error = float((found - truth).norm() / truth.norm().clamp(min=1e-30))
    return error if error == error else float("inf")


def command(
    options: Options, work: str, *words: str, limit_s: float = 120, terminate_after: str | None = None
) -> tuple[int, str, float]:
    """Run `python -m brats_ablate` on the prepared cases; return exit code, output and seconds.

    Args:
        options: the options of the stage.
        work: name of the folder of its runs.
        words: further words of the command.
        limit_s: interrupt it after this time, and kill it 20 s later; the exit code is then 124.
        terminate_after: send SIGTERM after a line that contains this text.
    """
    folder = options.work / work
    environment = os.environ | {"BRATS_ABLATE_WORK": str(folder), "PYTHONUNBUFFERED": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), environment.get("PYTHONPATH", "")])
    fixed = [data_of(options), "trainer.progress=lines", *small(options)]
    line = [sys.executable, "-m", "brats_ablate", *words, *fixed]
    started = time.monotonic()
    process = subprocess.Popen(
        line, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    said = ""
    if terminate_after is not None:
        for text in process.stdout:
            said += text
            if terminate_after in text:
                time.sleep(0.3)
                process.send_signal(signal.SIGTERM)
                break
    try:
        said += process.communicate(timeout=limit_s)[0]
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # a launcher passes it on to its runs, which outlive a kill
        try:
            said += process.communicate(timeout=20)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            said += process.communicate()[0]
        return 124, said, time.monotonic() - started
    return process.returncode, said, time.monotonic() - started
