"""`metadata.json` of an export: all that another program needs around the network, in the schema of MONAI bundles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

import brats_ablate
from brats_ablate.data.layouts import Layout
from brats_ablate.errors import ConfigError
from brats_ablate.inference.ensemble import EnsembleMember
from brats_ablate.inference.postprocess import NoPostprocess
from brats_ablate.inference.thresholds import RegionThresholds, ThresholdsAsReleased
from brats_ablate.inference.tta import FlipTTA, NoTTA
from brats_ablate.jobs import build
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.runs.provenance import code_version
from brats_ablate.transforms.foreground import (
    InputChannels,
    ModalitiesOnly,
    WithForegroundMask,
    WithForegroundMaskAsReleased,
)
from brats_ablate.transforms.nnunet_input import NnunetInput

_FOREGROUND: Mapping[type[InputChannels], str | None] = {
    ModalitiesOnly: None,
    WithForegroundMask: "1 where any modality is not 0 before normalization, else 0",
    WithForegroundMaskAsReleased: "1 where all normalized modalities are above 0, else 0",
    NnunetInput: None,
}
"""The channel after the modalities, of each option of `inputs`."""


@dataclass(frozen=True)
class Exported:
    """A run and what surrounds its network."""

    member: EnsembleMember
    cfg: DictConfig
    """The run's configuration, with the inference, post-processing and paths of the command."""
    scheme: LabelScheme
    layout: Layout
    modalities: tuple[str, ...]
    inputs: type[InputChannels]
    thresholds: Any
    flips: bool
    """Whether the eight flips are averaged."""

    @classmethod
    def of(cls, cfg: DictConfig, member: EnsembleMember) -> Exported:
        """Return what is exported for a run by the command `cfg`.

        Raises:
            ConfigError: a class of one's own is a part of it that no other program knows.
        """
        own = OmegaConf.create(member.run.config())
        assert isinstance(own, DictConfig)
        own.inference, own.postprocess, own.paths = cfg.inference, cfg.postprocess, cfg.paths
        inputs, tta = build.instantiate(own.inputs), build.instantiate(own.inference.tta)
        thresholds = build.instantiate(own.inference.labels)
        known: dict[str, tuple[Any, tuple[type, ...]]] = {
            "inputs": (inputs, tuple(_FOREGROUND)),
            "inference.tta": (tta, (FlipTTA, NoTTA)),
            "inference.labels": (thresholds, (RegionThresholds, ThresholdsAsReleased)),
        }
        for key, (part, classes) in known.items():
            if type(part) not in classes:
                raise ConfigError(
                    f"{key}: {type(part).__name__} cannot be described to other programs; choose an option of "
                    f"conf/{key.replace('.', '/')}"
                )
        modalities, layout = build.input_modalities(own), build.layout_of(own)
        scheme = build.build_scheme(own)
        return cls(member, own, scheme, layout, modalities, type(inputs), thresholds, isinstance(tta, FlipTTA))

    @property
    def in_channels(self) -> int:
        """Input channels of the network."""
        return len(self.channels)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the network's input channels."""
        return (*self.modalities, "foreground") if _FOREGROUND[self.inputs] else self.modalities

    @property
    def background(self) -> str | float:
        """As `data.case_reader.ReadingRules`."""
        value: str | float = self.cfg.data.get("background", "auto")
        return value

    @property
    def average(self) -> str:
        """What windows and flips average: probabilities or logits."""
        return str(self.cfg.inference.get("average", "probabilities"))

    def decoding(self) -> list[dict[str, Any]]:
        """Return per region its threshold, the regions whose thresholds must be met too, and the value to write.

        Thresholds are rounded to float16, as the probabilities that they are compared with.
        """
        rows = self.scheme.decoding()
        if isinstance(self.thresholds, RegionThresholds):
            thresholds, comparison = self.thresholds.of(self.scheme), ">="
        else:  # the released rule: above .5, and within the first region
            thresholds, comparison = [0.5] * len(rows), ">"
            rows = [row | {"within": [rows[0]["region"]] if row is not rows[0] else []} for row in rows]
        return [
            row | {"threshold": float(np.float16(t)), "comparison": comparison}
            for row, t in zip(rows, thresholds, strict=True)
        ]


def metadata_of(exported: Exported, format: str, shape: list[Any], verified: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of `metadata.json`: MONAI's schema, and this program's own part as `brats_ablate`.

    `shape` is that of an input, X, Y, Z, as MONAI writes it; `verified` the differences that were measured.
    """
    cfg, member = exported.cfg, exported.member
    packages = {"nibabel": version("nibabel")} if format == "monai_bundle" else {"onnxruntime": version("onnxruntime")}
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
        "meta_schema_20240725.json",
        "version": brats_ablate.__version__,
        "changelog": {brats_ablate.__version__: f"exported from {member}"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": packages,
        "name": str(member.run.coordinates.name),
        "task": "Segmentation of brain tumors",
        "description": f"One network of brats-ablate, {member}, in fp32",
        "authors": "",
        "copyright": "",
        "intended_use": "Research only; not a medical device",
        "network_data_format": _data_format(exported, shape),
        "brats_ablate": {
            "code_version": code_version(),
            "run": {"checkpoint": member.checkpoint.name, **vars(member.run.coordinates)},
            "identity": member.run.identity(),
            "preprocessing": _preprocessing(exported),
            "window": _plain(cfg.inference.window) | {"patch_shape": list(cfg.patches.shape)},
            "average": exported.average,
            "flips": exported.flips,
            "decoding": {
                "rule": "probabilities are rounded to float16; a region is claimed where its probability and those of "
                "the regions in `within` reach their thresholds by `comparison`; the last claimed region in this order "
                "gives the voxel its value; others are 0",
                "regions": exported.decoding(),
            },
            "postprocess": _plain(cfg.postprocess),
            "labels": exported.scheme.to_dict(),
            "verified": dict(verified),
        },
    }


def has_postprocess(exported: Exported) -> bool:
    """Return whether labels are changed after the thresholds."""
    return not isinstance(build.instantiate(exported.cfg.postprocess), NoPostprocess)


def _preprocessing(exported: Exported) -> dict[str, Any]:
    """Return the steps from files to the network's input, in order."""
    normalization = "each modality: (value − mean) / population SD of its voxels that are not 0; zeros stay 0"
    orientation = "RAS"
    if exported.inputs is NnunetInput:
        normalization = (
            "each modality: (value − mean) / population SD of a mask; 0 outside it. The mask contains the voxels that "
            "are not 0 in any modality, holes filled. Without a mask for a modality: of the whole cropped image"
        )
        orientation = "X, Y, Z, each in the direction of the file" if exported.cfg.inputs.file_directions else "RAS"
    own = {"mask": list(exported.cfg.inputs.use_mask)} if exported.inputs is NnunetInput else {}
    return {
        "orientation": orientation,
        "background": exported.background,
        "spacing_mm": build.spacing_of(exported.cfg),
        "crop": "to the smallest box that contains every voxel that is not 0 in any modality",
        "normalization": normalization,
        **own,
        "foreground_channel": _FOREGROUND[exported.inputs],
        "channels": list(exported.channels),
    }


def _data_format(exported: Exported, shape: list[Any]) -> dict[str, Any]:
    common = {"type": "image", "spatial_shape": shape, "dtype": "float32", "is_patch_data": True}
    channels = {str(i): name for i, name in enumerate(exported.channels)}
    regions = {str(i): name for i, name in enumerate(exported.scheme.region_names)}
    image = {"format": "magnitude", "modality": "MR", "num_channels": len(channels), "value_range": []}
    logits = {"format": "segmentation", "num_channels": len(regions), "value_range": []}
    return {
        "inputs": {"image": common | image | {"channel_def": channels}},
        "outputs": {"pred": common | logits | {"channel_def": regions}},
    }


def _plain(node: DictConfig) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(node, resolve=True)
    return dict(plain)
