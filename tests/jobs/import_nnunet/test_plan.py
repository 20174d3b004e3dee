from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from brats_ablate.errors import ConfigError, DataError
from brats_ablate.jobs.import_nnunet.plan import NetworkPlan
from brats_ablate.jobs.import_nnunet.results_folder import ResultsFolder

ARGUMENTS = {
    "n_stages": 3,
    "features_per_stage": [8, 16, 24],
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "kernel_sizes": [[3, 3, 3]] * 3,
    "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
    "n_conv_per_stage": [2, 2, 2],
    "n_conv_per_stage_decoder": [2, 2],
    "conv_bias": True,
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "norm_op_kwargs": {"eps": 1e-05, "affine": True},
    "dropout_op": None,
    "dropout_op_kwargs": None,
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}
CHOSEN: dict[str, Any] = {
    "preprocessor_name": "DefaultPreprocessor",
    "patch_size": [16, 24, 32],
    "spacing": [3.0, 2.0, 1.0],
    "normalization_schemes": ["ZScoreNormalization"] * 4,
    "use_mask_for_norm": [True] * 4,
    "architecture": {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": ARGUMENTS,
    },
}


def plan(configurations: dict[str, Any] | None = None, **plans: Any) -> NetworkPlan:
    given = {"configurations": configurations or {"3d_fullres": CHOSEN}, "image_reader_writer": "SimpleITKIO"}
    content = given | {"transpose_forward": [0, 1, 2]} | plans
    return NetworkPlan.of(ResultsFolder(Path("results"), "nnUNetTrainer", "nnUNetPlans", "3d_fullres", {}, content))


def changed(**arguments: Any) -> dict[str, Any]:
    chosen = copy.deepcopy(CHOSEN)
    chosen["architecture"]["arch_kwargs"] |= arguments
    return {"3d_fullres": chosen}


def test_axes_are_those_of_this_program() -> None:
    strides = [[1, 1, 1], [1, 2, 2], [2, 2, 4]]  # z, y, x
    found = plan(changed(strides=strides))
    assert found.patch_shape == (32, 24, 16)
    assert found.spacing == (1, 2, 3)
    assert found.strides == [[1, 1, 1], [2, 2, 1], [4, 2, 2]]
    assert found.size_divisor == [8, 4, 2]
    turned = plan(changed(strides=strides), transpose_forward=[2, 0, 1])  # nnU-Net's axes are x, z, y
    assert turned.axes == (0, 2, 1)
    assert turned.patch_shape == (16, 32, 24)


@pytest.mark.parametrize(
    "arguments",
    [
        {"strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]]},
        {"kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]]},
        {"n_conv_per_stage": [2, 3, 2]},
        {"norm_op": "torch.nn.modules.batchnorm.BatchNorm3d"},
        {"norm_op_kwargs": {"eps": 1e-3, "affine": True}},
        {"dropout_op": "torch.nn.Dropout3d"},
        {"nonlin": "torch.nn.ReLU"},
        {"nonlin_kwargs": {"negative_slope": 0.1}},
        {"nonlin_first": True},
    ],
)
def test_only_the_same_network_is_our_unet(arguments: dict[str, Any]) -> None:
    assert plan().as_unet() is not None
    assert plan(changed(**arguments)).as_unet() is None


def test_biases_of_upsampling_are_kept_if_there_are_any() -> None:
    for bias, upsample in ((True, "UpsampleAsReleased"), (False, "Upsample")):
        unet = plan(changed(conv_bias=bias)).as_unet()
        assert unet["model"]["upsample"]["_target_"].endswith(f".{upsample}")


def test_configurations_inherit() -> None:
    found = plan({"3d_base": CHOSEN, "3d_fullres": {"inherits_from": "3d_base", "patch_size": [8, 8, 24]}})
    assert found.patch_shape == (24, 8, 8)
    with pytest.raises(DataError, match="inherits from itself"):
        plan({"a": {"inherits_from": "3d_fullres"}, "3d_fullres": {"inherits_from": "a"}})


def test_old_plans_are_read() -> None:
    old = {key: value for key, value in CHOSEN.items() if key != "architecture"} | {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 32,
        "unet_max_num_features": 64,
        "n_conv_per_stage_encoder": [2, 2, 2],
        "n_conv_per_stage_decoder": [2, 2],
        "pool_op_kernel_sizes": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
        "conv_kernel_sizes": [[3, 3, 3]] * 3,
    }
    unet = plan({"3d_fullres": old}).as_unet()
    assert unet["encoder"]["channels"] == [32, 64, 64]
    with pytest.raises(ConfigError, match=r"is a .*\.UNetBB, not a PlainConvUNet"):
        plan({"3d_fullres": old | {"UNet_class_name": "UNetBB"}})


@pytest.mark.parametrize(
    ("change", "plans", "sentence"),
    [
        ({"patch_size": [24, 32]}, {}, r"segments slices \(2d\)"),
        ({"previous_stage": "3d_lowres"}, {}, "is the second stage of a cascade"),
        ({"normalization_schemes": ["CTNormalization"]}, {}, "normalizes by CTNormalization"),
        ({"preprocessor_name": "Mine"}, {}, "preprocesses by Mine"),
        ({}, {"label_manager": "Mine"}, "decodes labels by Mine"),
        ({}, {"image_reader_writer": "Tiff3DIO"}, "reads images by Tiff3DIO"),
        ({"architecture": {"network_class_name": "mine.Net"}}, {}, "is a mine.Net, not a PlainConvUNet"),
    ],
)
def test_what_is_not_reproduced_is_refused(change: dict[str, Any], plans: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=rf"{sentence}.*; set job\.networks=false"):
        plan({"3d_fullres": CHOSEN | change}, **plans)


def test_damaged_plans_are_named() -> None:
    with pytest.raises(DataError, match=r"plans\.json is not as nnU-Net v2 writes it \(no 'spacing'\)"):
        plan({"3d_fullres": {key: value for key, value in CHOSEN.items() if key != "spacing"}})
