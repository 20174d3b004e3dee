"""Write nnU-Net's networks as directories that `job=predict`, `load_predictor` and `init.checkpoint` read like runs.

    imported/<name>/fold=<f>/lr=0/seed=0/config.yaml, manifest.json, status.json, checkpoints/imported.pt

They are no runs: their folder is not that of runs, their state is "imported", they have 0 epochs, and of what trains a
run their configuration has nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from brats_ablate.config.check import resolve
from brats_ablate.data import dataset_json
from brats_ablate.errors import ConfigError, DataError, RunFailed
from brats_ablate.inference.ensemble import check_configuration
from brats_ablate.jobs import build
from brats_ablate.jobs.import_nnunet import weights as nnunet_weights
from brats_ablate.jobs.import_nnunet.plan import NetworkPlan, encoder_of
from brats_ablate.runs.directory import IMPORTED_CHECKPOINT, Coordinates, RunDirectory, RunRecord
from brats_ablate.runs.identity import config_hash, identity
from brats_ablate.runs.provenance import code_version
from brats_ablate.runs.state import RunState
from brats_ablate.runs.weights_source import content_checksum
from brats_ablate.runtime.files import write_text
from brats_ablate.training import checkpoint

if TYPE_CHECKING:
    from brats_ablate.jobs.import_nnunet.declared_labels import DeclaredLabels
    from brats_ablate.jobs.import_nnunet.results_folder import ResultsFolder
    from brats_ablate.labels.scheme import LabelScheme

_OF_TRAINING = ("augment", "loss", "auxiliary", "optimizer", "schedule", "validation")
"""Groups that say how a run is trained; nnU-Net's are its own."""
_INFERENCE = "brats_ablate.inference"


@dataclass(frozen=True)
class Source:
    """What all folds of an import have in common."""

    results: ResultsFolder
    plan: NetworkPlan
    declared: DeclaredLabels
    labels: LabelScheme
    modalities: tuple[str, ...]
    """In the order of nnU-Net's channels."""

    @classmethod
    def of(
        cls,
        cfg: DictConfig,
        results: ResultsFolder,
        declared: DeclaredLabels,
        labels: LabelScheme,
        channels: Sequence[str] | None = None,
    ) -> Source:
        """Return what the descriptions of a folder say, for the data of `cfg`.

        `channels` are the modalities in nnU-Net's order; None for what dataset.json declares.

        Raises:
            ConfigError: a part of it is not reproduced here.
            DataError: the channels are unclear.
        """
        plan, layout = NetworkPlan.of(results), build.layout_of(cfg)
        file = results.path / "dataset.json"
        needed = tuple(layout.modalities)
        if channels is not None and sorted(channels) != sorted(needed):
            raise ConfigError(f"job.channels={list(channels)} must name each of {', '.join(needed)} once")
        modalities = channels or dataset_json.order_in(
            results.dataset, file, layout.modality_of, needed, key="job.channels"
        )
        if len(plan.use_mask) != len(modalities):
            raise DataError(
                f"{results.path / 'plans.json'} normalizes {len(plan.use_mask)} channels, not {len(modalities)}"
            )
        if build.spacing_of(cfg) is not None:
            raise ConfigError(
                f"data.spacing={build.shown_spacing(build.spacing_of(cfg))} resamples otherwise than nnU-Net; prepare "
                "the data without it, or set job.networks=false to import the column alone"
            )
        if declared.are_exclusive and max(map(len, labels.file_values)) > 1:
            raise ConfigError(f"labels={labels.name} has several values of one tissue; set job.networks=false")
        return cls(results, plan, declared, labels, tuple(modalities))


def import_fold(
    cfg: DictConfig, source: Source, name: str, fold: int, which: str, data: Mapping[str, str]
) -> tuple[RunDirectory, bool]:
    """Write the network of one fold; return its directory, and whether that is new.

    Args:
        cfg: the composed configuration: data, labels and paths.
        source: see there.
        name: of the folder of all folds.
        fold: nnU-Net's.
        which: final or best.
        data: what to record of the prepared data the network was trained on, see `prepared_folds`; {} of others.

    Raises:
        ConfigError: the checkpoint does not fit the plans.
        DataError: it is damaged, or of another training.
        RunFailed: the directory contains another import.
    """
    file = source.results.fold(fold) / f"checkpoint_{which}.pth"
    content = nnunet_weights.load(file)
    _require_described(content, source.results, fold, file)
    config = _configuration(cfg, source, name, fold, content, bool(data))
    config["init"] = {"checkpoint": str(file.resolve()), "checksum": content_checksum(file)}
    flat = identity(config)
    run = RunDirectory.at(Path(cfg.paths.imported), Coordinates(name, fold, 0.0, 0))
    earlier = run.manifest()
    is_new = not earlier
    if not is_new and (run.identity(), earlier.get("data_fingerprint")) != (flat, data.get("data_fingerprint")):
        raise RunFailed(f"{run.path} contains another import; delete it, or set job.name=<another name>")
    model = build.build_model(OmegaConf.create(config))
    given = content["network_weights"]
    stages = int(source.plan.arguments["n_stages"])
    try:
        own = source.plan.as_unet() is not None
        renamed = nnunet_weights.of_unet(given, stages, source.plan.axes) if own else (
            nnunet_weights.of_external(given, source.plan.axes)
        )  # fmt: skip
        prefix = "network." if source.declared.are_exclusive else ""
        model.load_state_dict({f"{prefix}{key}": tensor for key, tensor in renamed.items()})
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"{file} does not fit the architecture in plans.json ({reason}), as {source.results.trainer} may have "
            "changed it; set job.networks=false to import the column alone"
        ) from error
    imported = run.path / "checkpoints" / IMPORTED_CHECKPOINT
    imported.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save({"model": model.state_dict(), "identity": flat, "epoch": 0}, imported)
    write_text(run.path / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(config)))
    run.write_manifest(
        {
            "experiment": name,
            "fold": fold,
            "lr": 0.0,
            "seed": 0,
            "identity": flat,
            "config_hash": config_hash(flat),
            "data_fingerprint": None,
            **data,
            "code_version": code_version(),
            "parameters": sum(p.numel() for p in model.parameters()),
            "imported": config["imported"],
        }
    )
    run.write_status(RunRecord(RunState.IMPORTED))
    check_configuration(run)
    return run, is_new


def _require_described(content: Mapping[str, Any], results: ResultsFolder, fold: int, file: Path) -> None:
    """Raise DataError if a checkpoint is of another trainer, configuration, fold or plans than its folder says."""
    given = content.get("init_args") or {}
    plans = given.get("plans") or {}
    chosen = [(p.get("configurations") or {}).get(results.configuration) for p in (plans, results.plans)]
    facts = (
        ("trainer", content.get("trainer_name"), results.trainer),
        ("configuration", given.get("configuration"), results.configuration),
        ("fold", str(given.get("fold")), str(fold)),
        ("dataset.json", (given.get("dataset_json") or {}).get("labels"), results.dataset.get("labels")),
        ("patch", *((c or {}).get("patch_size") for c in chosen)),
    )
    for what, in_file, in_folder in facts:
        if in_file != in_folder:
            raise DataError(f"{file} is of {what} {in_file}, but its folder of {in_folder}; put the right file back")


def _configuration(
    cfg: DictConfig, source: Source, name: str, fold: int, content: Mapping[str, Any], has_our_folds: bool
) -> dict[str, Any]:
    """Return the configuration of an imported network, in the form of a run's."""
    plan, results = source.plan, source.results
    tree = resolve(cfg)
    config = {key: tree[key] for key in ("data", "labels")} | {group: {} for group in _OF_TRAINING}
    config["data"] = dict(config["data"]) | {"fraction": 1.0} | ({} if has_our_folds else {"fold_seed": None})
    labels = "MostProbableTissue" if source.declared.are_exclusive else "RegionsInOrder"
    mirrored = [plan.axes.index(axis) for axis in content.get("inference_allowed_mirroring_axes") or ()]
    return config | {
        "name": name,
        "fold": fold,
        "lr": 0.0,
        "seed": 0,
        **_network(source),
        "inputs": {
            "_target_": "brats_ablate.transforms.nnunet_input.NnunetInput",
            "modalities": list(source.modalities),
            "use_mask": list(plan.use_mask),
            "spacing": list(plan.spacing),
            "file_directions": plan.file_directions,
        },
        "supervision": {"_target_": "brats_ablate.losses.deep_supervision.SingleHead"},
        "patches": {"shape": list(plan.patch_shape)},
        "trainer": {"epochs": 0, "precision": "fp32"},
        "inference": {
            "window": {
                "_target_": f"{_INFERENCE}.nnunet_window.NnunetWindow",
                "overlap": 0.5,
                "mirror_axes": sorted(mirrored),
                "axis_order": [plan.axes.index(axis) for axis in range(3)],
            },
            "tta": {"_target_": f"{_INFERENCE}.tta.NoTTA"},
            "average": "logits",
            "labels": {"_target_": f"{_INFERENCE}.thresholds.{labels}"},
        },
        "postprocess": {"_target_": f"{_INFERENCE}.postprocess.NoPostprocess"},
        "imported": {
            "program": "nnU-Net v2",
            "trainer": results.trainer,
            "plans": results.plans_name,
            "configuration": results.configuration,
            "epochs": content.get("current_epoch"),
            "source": str(results.path.resolve()),
        },
    }


def _network(source: Source) -> dict[str, Any]:
    """Return the groups `model` and `encoder`: this program's U-Net if it is nnU-Net's, else nnU-Net's own."""
    plan = source.plan
    groups = plan.as_unet()
    if groups is None:
        dynamic = {
            "_target_": "brats_ablate.models.nnunet.DynamicNetwork",
            "_partial_": True,
            "architecture": plan.architecture,
            "arguments": dict(plan.arguments),
        }
        model = {"_target_": build.ADAPTER, "network": dynamic, "size_divisor": plan.size_divisor}
        groups = {"model": model, "encoder": encoder_of(list(plan.arguments["features_per_stage"]))}
    if source.declared.are_exclusive:
        groups["model"] = {
            "_target_": "brats_ablate.models.nnunet.SoftmaxRegions",
            "network": groups["model"] | {"_partial_": True},
            "classes": len(source.declared.outputs),
            "regions": source.declared.classes_of_regions(source.labels),
        }
    return groups


def prepared_folds(cfg: DictConfig, held_out: Mapping[int, Sequence[str]]) -> dict[int, dict[str, str]]:
    """Return fold -> fingerprints of the prepared data and of its held-out cases, if both programs hold out the same.

    Only those networks may predict prepared cases. {} where nothing is prepared, or where a background was shifted,
    which the networks do not expect.
    """
    import json

    from brats_ablate.data.up_to_date import case_folder

    prepared = Path(cfg.paths.prepared)
    if not (prepared / "cohort.json").exists():
        return {}
    store = build.open_store(cfg)
    described = (json.loads((case_folder(prepared, c) / "case.json").read_bytes()) for c in store.case_ids)
    if any(value != 0 for each in described for value in each.get("backgrounds", [])):
        return {}
    return {
        fold: {"data_fingerprint": store.fingerprint, "held_out": store.held_out(fold)}
        for fold, case_ids in held_out.items()
        if fold < len(store.folds) and set(case_ids) == set(store.folds[fold])
    }
