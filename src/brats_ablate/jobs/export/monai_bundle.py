"""`configs/inference.json` of a MONAI bundle: the steps of `job=predict` in MONAI's own transforms and inferer.

python -m monai.bundle run --config_file configs/inference.json --bundle_root . --dataset_dir /data/new
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from brats_ablate.data.store import CaseStore
from brats_ablate.data.up_to_date import case_folder
from brats_ablate.errors import ConfigError, DataError
from brats_ablate.inference.sliding_window import SlidingWindow
from brats_ablate.inference.whole_volume import WholeVolume
from brats_ablate.jobs import build
from brats_ablate.jobs.export.metadata import Exported, has_postprocess
from brats_ablate.transforms.foreground import WithForegroundMask, WithForegroundMaskAsReleased
from brats_ablate.transforms.nnunet_input import NnunetInput

_CORNERS = "x[:, :: x.shape[1] - 1, :: x.shape[2] - 1, :: x.shape[3] - 1]"
_FLIPS = "$[[2 + axis for axis in range(3) if number >> axis & 1] for number in range(8 if @tta else 1)]"
_CHECK = (
    "$lambda case: [numpy.testing.assert_allclose(case[key].affine, case['raw'].affine, rtol=0, atol=0.001, err_msg="
    "f'{case[key].meta[\"filename_or_obj\"]} is on another grid than the first file; resample it') for key in @keys] "
    "and case"
)
"""As `data.validation.check_grid`."""
_NAME = "$lambda meta, saver: {'subject': os.path.basename(meta['filename_or_obj'][: -len(@endings[0])]), 'idx': None}"


def inference_config(exported: Exported) -> dict[str, Any]:
    """Return the configuration that MONAI's runner executes.

    Raises:
        ConfigError: a step has no counterpart in MONAI.
    """
    cfg, window = exported.cfg, exported.cfg.inference.window
    if has_postprocess(exported):
        raise ConfigError("job.format=monai_bundle has no step for postprocess; set postprocess=none, or export ONNX")
    if exported.inputs is NnunetInput:
        raise ConfigError("job.format=monai_bundle has no step for nnU-Net's normalization; export ONNX")
    if build.spacing_of(cfg) is not None:
        raise ConfigError(
            "job.format=monai_bundle cannot resample as data.spacing does; export ONNX, or train on the files' voxels"
        )
    if window._target_ not in {f"{kind.__module__}.{kind.__name__}" for kind in (SlidingWindow, WholeVolume)}:
        raise ConfigError("job.format=monai_bundle has no such inference.window; set inference=sliding_window")
    if window._target_.endswith(WholeVolume.__name__):
        raise ConfigError("job.format=monai_bundle slides a window; set inference=sliding_window, or export ONNX")
    ending = "" if exported.average == "probabilities" else ".sigmoid()"
    return {
        "imports": [f"$import {name}" for name in ("glob", "monai", "numpy", "os", "torch")],
        "bundle_root": ".",
        "dataset_dir": "/data/new",
        "output_dir": "$@bundle_root + '/predictions'",
        "endings": _endings(exported),
        "keys": "$['raw', *map(str, range(1, len(@endings)))]",  # of a case's files
        "files": "$sorted(glob.glob(os.path.join(@dataset_dir, '**', '*' + @endings[0]), recursive=True))",
        "data": "$[dict(zip(@keys, [file[: -len(@endings[0])] + ending for ending in @endings])) for file in @files]",
        "tta": exported.flips,
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": "$torch.jit.load(@bundle_root + '/models/model.ts', map_location='cpu')",
        "network": "$@network_def.to(@device).eval()",
        "preprocessing": {"_target_": "Compose", "transforms": _preprocessing(exported)},
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": [int(edge) for edge in cfg.patches.shape],
            "sw_batch_size": 1,
            "overlap": float(window.overlap),
            "mode": "gaussian",
            "sigma_scale": float(window.sigma_scale),
        },
        "forward": f"$lambda x: @network(x){'.sigmoid()' if not ending else ''}",
        "flips": _FLIPS,
        "predict": "$lambda x: sum(torch.flip(@inferer(torch.flip(x, axes), @forward), axes) for axes in @flips)"
        f".div(len(@flips)){ending}",
        "postprocessing": {"_target_": "Compose", "transforms": _postprocessing(exported)},
        "segment": "$torch.inference_mode()(lambda case: @postprocessing({**case, 'pred': monai.data.MetaTensor("
        "@predict(case['image'].as_tensor()[None].to(@device))[0].cpu(), meta=case['raw'].meta)}))",
        "run": [
            "$print(len(@data), 'cases in', @dataset_dir)",
            "$[@segment(@preprocessing(case)) and None for case in @data]",
        ],
    }


def _endings(exported: Exported) -> list[str]:
    """Return what follows a case's name in the path of each channel's file.

    Raises:
        ConfigError: the names of a case's files differ before its name, or not at all.
    """
    layout = exported.layout
    if layout.is_4d:
        return [".nii.gz"]
    if layout.is_numbered and layout.volumes is None:  # dataset.json of the training data gave the order
        return [f"_{m}.nii.gz" for m in exported.modalities]
    before, _, after = layout.images.rpartition("{case}")
    if (field := "{number}" if layout.is_numbered else "{modality}") in before or field not in after:
        raise ConfigError(
            f"job.format=monai_bundle finds the files of a case by what follows its name, and {field} is not there "
            f"alone in data.layout.images={layout.images}; export ONNX"
        )
    return [layout.file_name("{case}", m).rpartition("{case}")[2] for m in exported.modalities]


def _volumes(exported: Exported) -> list[str]:
    """Return the modality of each volume of a 4-D file, as declared, or else as the training data had them.

    Raises:
        ConfigError: they are not declared, and the training data are not there.
    """
    layout, prepared = exported.layout, Path(exported.cfg.paths.prepared)
    if layout.volumes is not None or len(layout.modalities) == 1:
        return list(layout.volumes or layout.modalities)
    try:
        store = CaseStore(prepared)
        described = json.loads((case_folder(prepared, store.case_ids[0]) / "case.json").read_bytes())
        order = dict(zip(described["volumes"], described["channels"], strict=True))
        if store.fingerprint == exported.member.run.manifest()["data_fingerprint"] and None not in order:
            return [order[i] for i in range(len(order))]
    except (DataError, OSError, ValueError, KeyError):
        pass
    raise ConfigError(
        f"the order of the volumes in 4-D files is neither in data.layout.volumes of {exported.member.run.path} nor in "
        f"{prepared}; set paths.prepared to the data that it was trained on, or export ONNX"
    )


def _preprocessing(exported: Exported) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = [
        {"_target_": "LoadImaged", "keys": "@keys", "ensure_channel_first": True},
        {"_target_": "Orientationd", "keys": "@keys", "axcodes": "RAS", "labels": None},
        {"_target_": "Lambda", "func": _CHECK},
        {"_target_": "ConcatItemsd", "keys": "@keys", "name": "raw"},  # on the grid of the first file, for Invertd
    ]
    if exported.layout.is_4d:
        order = _volumes(exported)
        steps.append(_lambda("raw", f"x[{[order.index(m) for m in exported.modalities]}]"))
    if exported.background == "auto":  # that of the corners, unless one is 0
        steps.append(_lambda("raw", f"x - x[:, :1, :1, :1] * ({_CORNERS} != 0).all(dim=(1, 2, 3), keepdim=True)"))
    elif exported.background != "none":
        steps.append(_lambda("raw", f"x - {float(exported.background)}"))
    both = ["image", "raw"]
    steps += [
        {"_target_": "CopyItemsd", "keys": "raw", "times": 1, "names": "image"},
        {"_target_": "CropForegroundd", "keys": both, "source_key": "image", "select_fn": "$lambda x: x != 0"},
        {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True, "channel_wise": True},
    ]
    if exported.inputs is WithForegroundMask:
        steps.append(_lambda("raw", "(x != 0).any(dim=0, keepdim=True).float()"))
        steps.append({"_target_": "ConcatItemsd", "keys": both, "name": "image"})
    elif exported.inputs is WithForegroundMaskAsReleased:
        steps.append(_lambda("image", "torch.cat([x, (x > 0).all(dim=0, keepdim=True).float()])"))
    return steps


def _postprocessing(exported: Exported) -> list[dict[str, Any]]:
    inverse = {
        "_target_": "Invertd",
        "keys": "pred",
        "transform": "@preprocessing",
        "orig_keys": "raw",
        "nearest_interp": False,
    }
    save = {
        "_target_": "SaveImaged",
        "keys": "pred",
        "output_dir": "@output_dir",
        "output_postfix": "seg",
        "output_name_formatter": _NAME,
        "output_dtype": "$torch.uint8",
        "resample": True,  # to the grid that it is on: without, MONAI 1.6 takes permuted axes for those of a 2-D image
        "separate_folder": False,
    }
    return [inverse, _lambda("pred", labels_expression(exported.decoding())), save]


def labels_expression(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the thresholds as a Python expression of torch: probabilities x (R, X, Y, Z) to file values (1, X, Y, Z).

    `rows` are those of `Exported.decoding`. The expression is nested: the last region that is claimed decides.
    """
    names = [row["region"] for row in rows]
    reached = [f"(x[{k}].half() {row['comparison']} {row['threshold']})" for k, row in enumerate(rows)]
    result = "torch.zeros_like(x[0])"
    for k, row in enumerate(rows):
        claimed = " & ".join([reached[k], *(reached[names.index(outer)] for outer in row["within"])])
        result = f"torch.where({claimed}, {row['value']}.0, {result})"
    return f"{result}[None]"


def _lambda(key: str, expression: str) -> dict[str, Any]:
    return {"_target_": "Lambdad", "keys": key, "func": f"$lambda x: {expression}", "track_meta": True}
