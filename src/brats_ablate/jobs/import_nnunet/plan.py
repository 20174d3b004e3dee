"""What nnU-Net's plans.json says about a network: architecture, patch, normalization, in the axes of this program.

nnU-Net's arrays have the axes z, y, x of the files, permuted by `transpose_forward`; here they are X, Y, Z.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brats_ablate.errors import ConfigError, DataError

if TYPE_CHECKING:
    from brats_ablate.jobs.import_nnunet.results_folder import ResultsFolder

_READERS = {"SimpleITKIO": True, "NibabelIO": True, "NibabelIOWithReorient": False}
"""nnU-Net's readers of NIfTI -> whether their axes run as in the file."""
_ARCHITECTURES = ("unet.PlainConvUNet", "unet.ResidualEncoderUNet")
"""Of convolutions alone, so that their axes can be permuted."""
_CONV, _NORM = "torch.nn.modules.conv.Conv3d", "torch.nn.modules.instancenorm.InstanceNorm3d"


@dataclass(frozen=True)
class NetworkPlan:
    """A 3-D network of full resolution."""

    architecture: str
    """Class of dynamic-network-architectures, without the package's `architectures`."""
    arguments: Mapping[str, Any]
    """Of its constructor, with lists per axis in the order X, Y, Z."""
    patch_shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    """Voxel edges in mm."""
    use_mask: tuple[bool, ...]
    """See `transforms.nnunet_input`."""
    file_directions: bool
    """Whether its axes run as in the files, not as RAS+."""
    axes: tuple[int, int, int]
    """For X, Y and Z, nnU-Net's axis."""

    @classmethod
    def of(cls, results: ResultsFolder) -> NetworkPlan:
        """Return the plan of the folder's configuration.

        Raises:
            ConfigError: it has a part that is not reproduced here.
            DataError: plans.json lacks something.
        """
        try:
            return cls._of(results, _resolved(results.plans["configurations"], results.configuration))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(
                f"{results.path / 'plans.json'} is not as nnU-Net v2 writes it ({reason}); restore it, or set "
                "job.networks=false"
            ) from error

    @classmethod
    def _of(cls, results: ResultsFolder, chosen: Mapping[str, Any]) -> NetworkPlan:
        plans = results.plans
        reader = plans["image_reader_writer"]
        schemes = chosen["normalization_schemes"]
        if len(chosen["patch_size"]) != 3:
            raise _refusal(results, "segments slices (2d), while networks here are 3-D")
        if chosen.get("previous_stage") is not None:
            raise _refusal(results, "is the second stage of a cascade, whose input is another network's output")
        for scheme in schemes:
            if scheme != "ZScoreNormalization":
                raise _refusal(results, f"normalizes by {scheme}, while only ZScoreNormalization is reproduced")
        if chosen["preprocessor_name"] != "DefaultPreprocessor":
            raise _refusal(results, f"preprocesses by {chosen['preprocessor_name']}, which is not reproduced")
        if plans.get("label_manager", "LabelManager") != "LabelManager":
            raise _refusal(results, f"decodes labels by {plans['label_manager']}, which is not reproduced")
        if reader not in _READERS:
            raise _refusal(results, f"reads images by {reader}, while only {', '.join(_READERS)} are reproduced")
        forward = [int(axis) for axis in plans["transpose_forward"]]
        x, y, z = (forward.index(2 - axis) for axis in range(3))  # the files' order is z, y, x
        axes = (x, y, z)
        architecture = chosen.get("architecture") or _architecture_of_old_plans(chosen)
        _, _, name = str(architecture["network_class_name"]).partition(".architectures.")
        name = name.replace("residual_unet.", "unet.")  # where earlier versions have it
        if name not in _ARCHITECTURES:
            known = " or ".join(each.partition(".")[2] for each in _ARCHITECTURES)
            raise _refusal(results, f"is a {architecture['network_class_name']}, not a {known}")
        patch, spacing = chosen["patch_size"], chosen["spacing"]
        return cls(
            name,
            _permuted(architecture["arch_kwargs"], axes),
            (int(patch[x]), int(patch[y]), int(patch[z])),
            (float(spacing[x]), float(spacing[y]), float(spacing[z])),
            tuple(bool(uses) for uses in chosen["use_mask_for_norm"]),
            _READERS[reader],
            axes,
        )

    @property
    def strides(self) -> list[list[int]]:
        """Of each stage along X, Y, Z."""
        return [_per_axis(stride) for stride in self.arguments["strides"]]

    @property
    def size_divisor(self) -> list[int]:
        """What each axis of an input must be divisible by: the product of the strides."""
        divisor = [1, 1, 1]
        for stride in self.strides:
            divisor = [d * s for d, s in zip(divisor, stride, strict=True)]
        return divisor

    def as_unet(self) -> dict[str, Any] | None:
        """Return the groups `model` and `encoder` of this program's U-Net if it is this network; else None.

        Biases before an instance norm have no effect, so those networks are the same with and without.
        """
        given = self.arguments
        stages = int(given["n_stages"])
        encoder, decoder = (_one_number(given.get(key)) for key in ("n_conv_per_stage", "n_conv_per_stage_decoder"))
        kernels = given["kernel_sizes"]
        is_unet = (
            self.architecture == "unet.PlainConvUNet"
            and encoder is not None
            and decoder is not None
            and (kernels == 3 or all(_per_axis(kernel) == [3, 3, 3] for kernel in kernels))
            and self.strides == [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1)
            and str(given["conv_op"]).endswith("Conv3d")
            and str(given["norm_op"]).endswith("InstanceNorm3d")
            and given.get("norm_op_kwargs") == {"eps": 1e-5, "affine": True}
            and given.get("dropout_op") is None
            and str(given["nonlin"]).endswith(".LeakyReLU")
            and (given.get("nonlin_kwargs") or {}).get("negative_slope", 0.01) == 0.01
            and not given.get("nonlin_first")
        )
        if not is_unet:
            return None
        models, partial = "brats_ablate.models", {"_partial_": True}
        upsample = "UpsampleAsReleased" if given.get("conv_bias") else "Upsample"
        block = {"_target_": f"{models}.blocks.ConvBlock", **partial}
        model = {
            "_target_": f"{models}.unet.UNet",
            "encoder_block": block | {"layers": encoder},
            "decoder_block": block | {"layers": decoder},
            "gate": {"_target_": f"{models}.attention_gate.NoGate", **partial},
            "drop": {"_target_": f"{models}.dropblock.NoDrop", **partial},
            "drop_stages": 3,
            "upsample": {"_target_": f"{models}.upsample.{upsample}", **partial},
            "blocks_per_level": [1],
            "checkpointing": False,
        }
        return {"model": model, "encoder": encoder_of(list(given["features_per_stage"]))}


def encoder_of(channels: list[int]) -> dict[str, Any]:
    """Return the group `encoder` of a network with these channels."""
    return {"_target_": "brats_ablate.models.encoder.EncoderConfig", "channels": channels, "width": 1.0}


def _resolved(configurations: Mapping[str, Any], name: str, below: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a configuration with what it inherits."""
    own = dict(configurations[name])
    parent = own.get("inherits_from")
    if parent is None:
        return own
    if parent in below:
        raise ValueError(f"{parent} inherits from itself")
    return _resolved(configurations, parent, (*below, name)) | own


def _architecture_of_old_plans(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the architecture of plans before nnU-Net 2.4, which had a key for each part of it."""
    name, convolutions = str(chosen["UNet_class_name"]), chosen["n_conv_per_stage_encoder"]
    first, most = chosen["UNet_base_num_features"], chosen["unet_max_num_features"]
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{name}",
        "arch_kwargs": {
            "n_stages": len(convolutions),
            "features_per_stage": [min(first * 2**i, most) for i in range(len(convolutions))],
            "conv_op": _CONV,
            "kernel_sizes": chosen["conv_kernel_sizes"],
            "strides": chosen["pool_op_kernel_sizes"],
            "n_conv_per_stage" if name == "PlainConvUNet" else "n_blocks_per_stage": convolutions,
            "n_conv_per_stage_decoder": chosen["n_conv_per_stage_decoder"],
            "conv_bias": True,
            "norm_op": _NORM,
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
    }


def _permuted(arguments: Mapping[str, Any], axes: Sequence[int]) -> dict[str, Any]:
    """Return the arguments of an architecture with the lists of each stage in another order of axes."""
    per_stage = {key: arguments[key] for key in ("kernel_sizes", "strides") if isinstance(arguments[key], list)}
    return dict(arguments) | {
        key: [[_per_axis(stage)[axis] for axis in axes] for stage in stages] for key, stages in per_stage.items()
    }


def _per_axis(value: int | Sequence[int]) -> list[int]:
    return [value] * 3 if isinstance(value, int) else list(value)


def _one_number(value: int | Sequence[int] | None) -> int | None:
    """Return a number, or that of a list of equal ones; None for several."""
    numbers = {value} if isinstance(value, int) else set(value or ())
    return numbers.pop() if len(numbers) == 1 else None


def _refusal(results: ResultsFolder, reason: str) -> ConfigError:
    return ConfigError(f"{results.path} {reason}; set job.networks=false to import the column alone")
