"""Logits, loss and gradients in fp32, TF32, AMP and compiled AMP against float64 on the CPU; the layout of every map."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from brats_ablate.jobs.build import build_loss
from brats_ablate.models.norm import InstanceNorm
from gpu_stages.common import Options, build, compose, relative_error

TOLERANCE = {"fp32": (1e-4, 2e-2), "tf32": (2e-2, 0.1), "auto": (5e-2, 0.3), "auto compiled": (5e-2, 0.3)}
"""Of the logits, and of the gradient, which instance norm makes sensitive, relative to their norms."""
EDGE = 32
NETWORK = ("+experiment=ds", "encoder.channels=[16,32,64,64]")


def measure(options: Options, words: list[str]) -> dict[str, Any]:
    """Return the relative errors of logits, loss and gradient for each precision."""
    network = ("+experiment=baseline", "encoder.channels=[16,32]") if options.tiny else NETWORK
    cfg = compose(*network, f"patches.shape=[{EDGE},{EDGE},{EDGE}]")
    torch.manual_seed(1)
    images, labels = torch.randn(2, 4, EDGE, EDGE, EDGE), torch.randint(0, 4, (2, EDGE, EDGE, EDGE), dtype=torch.uint8)
    truth = _outcome(Options(options.prepared, options.out, tiny=True), cfg, images, labels, "fp32", torch.float64)
    found: dict[str, Any] = {"ok": True}
    for name, (of_logits, of_gradient) in TOLERANCE.items():
        precision = name.split()[0]
        if precision == "tf32" and not options.on_gpu:
            continue
        outcome = _outcome(options, cfg, images, labels, precision, compiled="compiled" in name)
        errors = [relative_error(a, b) for a, b in zip(outcome, truth, strict=True)]
        found[name] = {k: float(f"{e:.1e}") for k, e in zip(("logits", "loss", "gradient"), errors, strict=True)}
        found["ok"] &= errors[0] < of_logits and errors[2] < of_gradient
    first, again = (_outcome(options, cfg, images, labels, "auto")[2] for _ in range(2))
    found["same_gradient_twice"] = bool(torch.equal(first, again))
    found["layout_lost"] = _lost_layouts(options, cfg, images, labels)
    return found


def _outcome(
    options: Options, cfg: Any, images: torch.Tensor, labels: torch.Tensor, precision: str,
    dtype: torch.dtype = torch.float32, compiled: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    from brats_ablate.models.compilation import CompiledNetwork

    device = torch.device("cpu") if dtype == torch.float64 else options.device
    if dtype == torch.float64:
        from brats_ablate.jobs.build import build_model
        from brats_ablate.training.precision import Precision

        model, number_format = build_model(cfg).double(), Precision.resolve("fp32", device)
    else:
        model, number_format = build(options, cfg, precision)
    network = CompiledNetwork(model) if compiled else model
    x = images.to(device, dtype).contiguous(memory_format=torch.channels_last_3d)
    with number_format.autocast():
        output = network(x)
        loss, _ = build_loss(cfg)(output, labels.to(device), x)
    loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert not compiled or network.is_compiled, "not compiled; the log says why"
    return output.logits[0], loss, gradient


def _lost_layouts(options: Options, cfg: Any, images: torch.Tensor, labels: torch.Tensor) -> list[str]:
    """Return every convolution and norm that returns or gets a map or a gradient that is not channels last."""
    model, precision = build(options, cfg)
    lost: set[str] = set()

    def is_lost(x: torch.Tensor) -> bool:
        return x.dim() == 5 and x.shape[1] > 1 and not x.is_contiguous(memory_format=torch.channels_last_3d)

    def audit(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            if is_lost(output):
                lost.add(f"output of {name}")
            if output.requires_grad:
                output.register_hook(lambda gradient: lost.add(f"gradient of {name}") if is_lost(gradient) else None)

        return hook

    for name, module in model.named_modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d | InstanceNorm):
            module.register_forward_hook(audit(name))
    x = images.to(options.device).contiguous(memory_format=torch.channels_last_3d)
    with precision.autocast():
        loss, _ = build_loss(cfg)(model(x), labels.to(options.device), x)
    loss.backward()
    return sorted(lost)
