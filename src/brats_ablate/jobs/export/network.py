"""The exported network: plain layers in fp32, and its comparison with the network as this program runs it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from brats_ablate.errors import RunFailed, UserError
from brats_ablate.jobs import build
from brats_ablate.jobs.build_inference import build_window
from brats_ablate.models.base import SegmentationModel
from brats_ablate.models.norm import restore_norms
from brats_ablate.runtime.text import first_line

if TYPE_CHECKING:
    from brats_ablate.cases import Shape3d

INPUT, OUTPUT = "image", "logits"
_ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_SEED = 0


def require(format: str) -> None:
    """Raise UserError if a package is missing that the format needs."""
    missing = [name for name in _ONNX_PACKAGES if find_spec(name) is None] if format == "onnx" else []
    if missing:
        raise UserError(
            f"job.format=onnx needs {', '.join(missing)}; install {'it' if len(missing) == 1 else 'them'} with "
            "pip install 'brats-ablate[export]'"
        )


class FinestHead(nn.Module):
    """The part of a network that predictions need: (B, C, X, Y, Z) -> logits (B, R, X, Y, Z)."""

    def __init__(self, model: SegmentationModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.model(image).logits[0]
        return logits


def has_fixed_shape(model: SegmentationModel) -> bool:
    """Return whether an export of the network takes the training patch only."""
    return model.fixed_shape or not model.traces_any_shape


def save_onnx(model: SegmentationModel, channels: int, file: Path, *, fixed_shape: bool) -> None:
    """Write ONNX with the input `image` (1, C, X, Y, Z) and the output `logits`; X, Y, Z are dynamic or the patch's.

    Raises:
        RunFailed: torch cannot translate an operation of the network.
    """
    axes = {} if fixed_shape else dict.fromkeys((2, 3, 4), torch.export.Dim.AUTO)
    with _quiet(), _named(model, "ONNX"), torch.no_grad():
        program = torch.onnx.export(
            _portable(model),
            (_example(channels, model.patch_shape),),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=(axes,),
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        file.parent.mkdir(parents=True, exist_ok=True)
        program.save(file, external_data=False)


def save_torchscript(model: SegmentationModel, channels: int, file: Path) -> None:
    """Write TorchScript from (B, C, X, Y, Z) to logits, which runs without this package.

    Raises:
        RunFailed: the network cannot be traced.
    """
    with _quiet(), _named(model, "TorchScript"), torch.no_grad():
        traced = torch.jit.trace(_portable(model), (_example(channels, model.patch_shape),), check_trace=False)
        file.parent.mkdir(parents=True, exist_ok=True)
        traced.save(str(file))


def verify(
    cfg: DictConfig, model: SegmentationModel, channels: int, file: Path, tolerance: float, *, fixed_shape: bool
) -> dict[str, float]:
    """Compare the exported network with `model`, executed as this program executes it in fp32 on a CPU.

    Compared are a patch, a volume of odd size by the window of `cfg.inference`, which pads it, and unless `fixed_shape`
    a larger input. The inputs are random. `model` gets the fused layers of a CPU.

    Returns:
        The largest difference of a probability on each of the three.

    Raises:
        RunFailed: one is not below `tolerance`.
    """
    build.execute_on(model, torch.device("cpu"))
    window, exported = build_window(cfg, model), open_exported(file)
    patch, divisor = model.patch_shape, model.size_divisor

    def own(image: Tensor) -> Tensor:
        logits: Tensor = FinestHead(model)(image.contiguous(memory_format=torch.channels_last_3d))
        return logits.sigmoid()

    def other(image: Tensor) -> Tensor:
        try:
            return exported(image).sigmoid()
        except Exception as error:  # onnxruntime's have no other base
            raise RunFailed(
                f"{file.name} is not kept: it does not take an input of {list(image.shape[2:])} voxels; set "
                "job.fixed_shape=true to export it for the training patch only"
            ) from error

    x, y, z = patch
    shapes = {"patch": patch, "odd volume": (x + 5, max(1, y - 3), z)}
    if not fixed_shape:
        shapes["larger input"] = (x + divisor[0], y, z + 2 * divisor[2])
    differences = {}
    with torch.inference_mode():
        for name, shape in shapes.items():
            image = _example(channels, shape)
            by_window = name == "odd volume"
            results = [window(network, image) if by_window else network(image) for network in (own, other)]
            differences[name] = float((results[0] - results[1]).abs().max())
            if not differences[name] < tolerance:  # also NaN
                raise RunFailed(
                    f"{file.name} is not kept: a probability differs by {differences[name]:.1e} from this program's on "
                    f"a {name}, more than job.tolerance={tolerance:g}; report it with the run's config.yaml, or set a "
                    "larger tolerance if its logits are in the hundreds, where fp32 rounds by so much"
                )
    return differences


def open_exported(file: Path) -> Callable[[Tensor], Tensor]:
    """Return an exported file as a function from (1, C, X, Y, Z) to logits, by onnxruntime or TorchScript."""
    if file.suffix != ".onnx":
        with _quiet():
            script: Callable[[Tensor], Tensor] = torch.jit.load(str(file))
        return script
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def network(image: Tensor) -> Tensor:
        (logits,) = session.run([OUTPUT], {INPUT: image.contiguous().numpy()})
        return torch.from_numpy(logits)

    return network


def _portable(model: SegmentationModel) -> FinestHead:
    """Return the head of a copy with torch's own norms, which other programs know and which take any batch."""
    from copy import deepcopy

    copy = deepcopy(model)
    restore_norms(copy)
    return FinestHead(copy).eval()


def _example(channels: int, shape: tuple[int, ...] | Shape3d) -> Tensor:
    return torch.randn((1, channels, *shape), generator=torch.Generator().manual_seed(_SEED))


@contextmanager
def _named(model: SegmentationModel, format: str) -> Iterator[None]:
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception as error:  # of many kinds, as the operations of a network of one's own lead torch anywhere
        name = getattr(model, "name", type(model).__name__)
        raise RunFailed(f"{name} cannot be exported to {format} ({first_line(error)}); choose another model") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what torch's exporters print about themselves: deprecations, optional packages, tracing."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
