"""Measure seconds and memory of one method that predicts one whole case with eight flips, in its own process.

The network can be the identity, which leaves the cost of the sliding window and flips.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from brats_ablate.inference.sliding_window import SlidingWindow
from brats_ablate.inference.tta import FlipTTA
from brats_ablate.inference.whole_volume import WholeVolume
from brats_ablate.models import kernels
from brats_ablate.models.base import to_device
from brats_ablate.runtime.memory import disable_malloc_trim
from brats_ablate.training.device import choose_device
from brats_ablate.training.precision import Precision
from dataset import Dataset
from measuring import Options, print_result, resident_gib
from networks import NNUNET, OURS, build


def measure(way: str, network: str, precision: str, width: float, keep_memory: bool, **request: Any) -> dict[str, Any]:
    """Return `seconds`, `memory_gib` and `shape` of one case; `way` is ours, whole_volume, monai or nnunet."""
    if keep_memory:
        disable_malloc_trim()
    options = Options.of_request(**request)
    dataset = Dataset(options)
    device = choose_device("auto", 0)
    number_format = Precision.resolve(precision, device)
    predict = _way(way, options, dataset, _network(network, options.patch, width, number_format, device))
    volume = _volume(dataset).to(device)
    on_gpu = device.type == "cuda"
    before = torch.cuda.memory_allocated() / 2**30 if on_gpu else resident_gib()
    with torch.inference_mode():
        # A GPU's libraries choose their kernels by the shape; on a CPU a patch is enough to compile ours.
        predict(volume if on_gpu else volume[..., : options.patch, : options.patch, : options.patch])
        if on_gpu:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        started = time.perf_counter()
        predict(volume)
        if on_gpu:
            torch.cuda.synchronize()
    elapsed = time.perf_counter() - started
    after = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else resident_gib()
    return {"seconds": elapsed, "memory_gib": after - before, "shape": list(volume.shape[2:])}


def _network(
    name: str, patch: int, width: float, number_format: Precision, device: torch.device
) -> Callable[[Tensor], Tensor]:
    if name == "none":
        return torch.nn.Identity()
    model = build(name, patch, width).eval()
    if name == NNUNET:
        return model.to(device)
    assert name == OURS
    kernels.enable(model)
    to_device(model, device)

    def network(volume: Tensor) -> Tensor:
        with number_format.autocast():
            logits: Tensor = model(volume.contiguous(memory_format=torch.channels_last_3d))
        return logits.float().sigmoid_()

    return network


def _way(
    way: str, options: Options, dataset: Dataset, network: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], object]:
    shape = (options.patch,) * 3
    if way == "nnunet":
        from peers.nnunet import NnUNet

        predict = NnUNet(dataset).predictor(network)
        return lambda volume: predict(volume[0])
    if way == "monai":
        from monai.inferers import sliding_window_inference

        def one_pass(volume: Tensor) -> Tensor:
            blended: Tensor = sliding_window_inference(
                volume, shape, 1, network, overlap=0.5, mode="gaussian", sigma_scale=0.125
            )
            return blended

        return lambda volume: FlipTTA()(one_pass, volume)
    window = SlidingWindow(shape, 0.5, 0.125) if way == "ours" else WholeVolume((32, 32, 32))
    return lambda volume: FlipTTA()(lambda flipped: window(network, flipped), volume)


def _volume(dataset: Dataset) -> Tensor:
    from brats_ablate.transforms.normalize import normalize

    record = dataset.store.record(dataset.case_ids[0])
    raw = torch.from_numpy(dataset.store.read_images(record.case_id))
    return normalize(raw, record.mean, record.std)[None]


if __name__ == "__main__":
    print_result(measure)
