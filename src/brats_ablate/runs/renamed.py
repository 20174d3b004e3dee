"""The `_target_` names of version 0.1 and their current names.

A run's identity is hashed over its configuration, including the `_target_` names. A component is always hashed under
its first name, so that identities, and with them run directories, stay valid when code moves. Files of earlier
versions (a run's `config.yaml`, `tuned.yaml`, `predictions.json`) are read with the current names.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

RENAMED: Mapping[str, str] = MappingProxyType(
    {
        f"brats_ablate.{first}": f"brats_ablate.{now}"
        for first, now in {
            "augment.blur.GaussianBlur": "transforms.blur.GaussianBlur",
            "augment.brightness.Brightness": "transforms.brightness.Brightness",
            "augment.compose.Compose": "transforms.compose.Compose",
            "augment.contrast.Contrast": "transforms.contrast.Contrast",
            "augment.flip.Flip": "transforms.flip.Flip",
            "augment.noise.GaussianNoise": "transforms.noise.GaussianNoise",
            "augment.zoom.Zoom": "transforms.zoom.Zoom",
            "data.inputs.OneHot": "transforms.foreground.WithForegroundMask",
            "data.inputs.OneHotAsReleased": "transforms.foreground.WithForegroundMaskAsReleased",
            "data.inputs.Plain": "transforms.foreground.ModalitiesOnly",
            "data.patches.BiasedCrop": "transforms.crop.BiasedCrop",
            "inference.labels.RegionThresholds": "inference.thresholds.RegionThresholds",
            "inference.postprocess.Rules": "inference.postprocess.Sequential",
            "jobs.plan.run": "jobs.sweep.plan.run",
            "jobs.status.run": "jobs.sweep.status.run",
            "losses.auxiliary.NoAuxiliary": "losses.vae.NoAuxiliary",
            "losses.auxiliary.VaeTerms": "losses.vae.VAELoss",
            "losses.region.RegionLoss": "losses.region_loss.RegionLoss",
            "losses.supervision.DeepSupervision": "losses.deep_supervision.DeepSupervision",
            "losses.supervision.DeepSupervisionAsReleased": "losses.deep_supervision.DeepSupervisionAsReleased",
            "losses.supervision.NoSupervision": "losses.deep_supervision.SingleHead",
            "metrics.case.CaseMetrics": "metrics.case_metrics.CaseMetrics",
            "models.drop.DropBlock3d": "models.dropblock.DropBlock3d",
            "models.drop.NoDrop": "models.dropblock.NoDrop",
            "models.encoder.Encoder": "models.encoder.EncoderConfig",
            "models.gates.AttentionGate": "models.attention_gate.AttentionGate",
            "models.gates.AttentionGateAsReleased": "models.attention_gate.AttentionGateAsReleased",
            "models.gates.NoGate": "models.attention_gate.NoGate",
            "models.mednext.MedNeXt": "models.monai.MedNeXt",
            "models.segresnet_vae.SegResNetVAE": "models.monai.SegResNetVAE",
            "models.swin_unetr.SwinUNETR": "models.monai.SwinUNETR",
            "models.unetr.UNETR": "models.monai.UNETR",
            "tracking.NoTracker": "tracking.base.NullTracker",
            "tracking.WandbTracker": "tracking.wandb.WandbTracker",
        }.items()
    }
)
"""First name -> current name. When a component moves again, only the right-hand side changes."""

_FIRST: Mapping[str, str] = MappingProxyType({now: first for first, now in RENAMED.items()})


def with_first_names(tree: Any) -> Any:
    """Return a copy of plain containers in which every `_target_` has its first name."""
    return _replaced(tree, _FIRST)


def with_current_names(tree: Any) -> Any:
    """Return a copy of plain containers in which every `_target_` has its current name."""
    return _replaced(tree, RENAMED)


def _replaced(node: Any, names: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {
            key: names.get(value, value) if key == "_target_" and isinstance(value, str) else _replaced(value, names)
            for key, value in node.items()
        }
    return [_replaced(item, names) for item in node] if isinstance(node, list) else node
