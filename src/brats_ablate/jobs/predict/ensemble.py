"""Run an ensemble: read cases, predict each with the networks of its held-out fold, average."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig, OmegaConf

from brats_ablate.config.constraints import whole_volume_and_model
from brats_ablate.errors import ConfigError, DataError
from brats_ablate.inference.average import AVERAGES
from brats_ablate.inference.disagreement import RunningSD, disagreement_map
from brats_ablate.inference.ensemble import EnsembleMember, check_checkpoint, ensemble_mean
from brats_ablate.inference.prediction_store import CasePrediction
from brats_ablate.inference.thresholds import saved_probabilities
from brats_ablate.jobs import build
from brats_ablate.jobs.build_inference import average_of, build_predictor
from brats_ablate.jobs.predict.case_source import CaseSource, or_error
from brats_ablate.jobs.predict.nnunet_case import as_nnunet
from brats_ablate.jobs.sweep.data_check import has_its_fold
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.runtime.ranks import local_rank
from brats_ablate.runtime.workers import prefetch
from brats_ablate.training import checkpoint
from brats_ablate.training.device import choose_device
from brats_ablate.training.precision import Precision
from brats_ablate.transforms.nnunet_input import NnunetInput
from brats_ablate.transforms.pipeline import case_input

if TYPE_CHECKING:
    from brats_ablate.data.case_reader import PreparedCase
    from brats_ablate.data.store import CaseStore
    from brats_ablate.inference.tta import Predict
    from brats_ablate.models.base import SegmentationModel
    from brats_ablate.training.settings import TrainerSettings
    from brats_ablate.transforms.foreground import InputChannels


@dataclass(frozen=True)
class Predictor:
    """A loaded network with its input builder and its window over a whole volume."""

    modalities: tuple[str, ...]
    channels: InputChannels
    input_key: str
    """Members of the same key take the same input volume."""
    predict: Callable[[torch.Tensor], torch.Tensor]
    """(1, C, X, Y, Z) -> (1, 3, X, Y, Z), what `inference.average` averages."""


class EnsemblePredictor:
    """Members and the cases they predict; with `disagreement`, also the map of `inference.disagreement`.

    Raises:
        ConfigError: a fold with cases has no member, or only one that could disagree with no other; a member predicts
            other regions than those of `cfg.labels`; or cases are read with another `data.spacing` than a member's.
        DataError: a member was trained on different data from what is prepared now.
    """

    def __init__(
        self, cfg: DictConfig, members: Sequence[EnsembleMember], source: CaseSource, *, disagreement: bool = False
    ) -> None:
        self.members, self.source, self.inference = members, source, cfg.inference
        self.disagreement = disagreement
        settings: TrainerSettings = build.instantiate(cfg.trainer)
        device = choose_device(settings.device, local_rank())
        self.precision = Precision.resolve(settings.precision, device)
        self._compiled = settings.compiles_on(device.type)
        self.precision.allow_tf32()
        self.tta, self.average = build.instantiate(cfg.inference.tta), average_of(cfg.inference)
        rule = build.instantiate(cfg.inference.labels)
        self._dtype = torch.float32 if getattr(rule, "full_precision", False) else torch.float16
        self._loaded: dict[Path, Predictor] = {}
        self._check_labels(build.build_scheme(cfg))
        if any(c in source.fold_of for c in source.case_ids):
            assert self.source.store is not None
            self._check_data(self.source.store)
            self._check_folds()
        else:
            self._check_spacing(build.spacing_of(cfg))
        if disagreement:
            self._check_disagreement()

    @property
    def provenance(self) -> dict[str, Any]:
        """Everything that the probabilities depend on, for the manifest."""
        inference: Any = OmegaConf.to_container(self.inference, resolve=True)
        members = [str(member) for member in self.members]
        predicted_by = {"members": members, "window": inference["window"], "tta": inference["tta"]}
        if self.average != AVERAGES["probabilities"]:  # earlier versions did not record it
            predicted_by["average"] = inference["average"]
        return {**self.source.provenance, **predicted_by, "precision": self.precision.name}

    def predictions(self, case_ids: Sequence[str]) -> Iterator[tuple[str, CasePrediction | DataError]]:
        """Yield the prediction of each case, or its error, while the next one is read."""
        with closing(prefetch(partial(or_error, self.source.load), case_ids)) as cases:
            for case_id, case in zip(case_ids, cases, strict=True):
                yield case_id, case if isinstance(case, DataError) else or_error(self.predict, case)

    def predict(self, case: PreparedCase) -> CasePrediction:
        """Return the prediction of one case, by the networks of its held-out fold, or by all if it is of no fold.

        Raises:
            DataError: a network is imported and was not made for such cases.
        """
        record, device = case.record, self.precision.device
        volumes: dict[str, torch.Tensor] = {}
        members = []
        for predictor in self._predictors(self.source.fold_of.get(record.case_id)):
            if predictor.input_key not in volumes:
                own = case.with_channels(predictor.modalities)
                volumes[predictor.input_key] = case_input(own.images, own.record, predictor.channels, device)
            predict, channels = predictor.predict, predictor.channels
            if isinstance(channels, NnunetInput):
                predict = as_nnunet(predict, case, channels)
            members.append((predict, volumes[predictor.input_key]))
        sd = RunningSD() if self.disagreement else None

        def probabilities(predict: Predict, volume: torch.Tensor) -> torch.Tensor:
            values: torch.Tensor = self.average.to_probabilities(self.tta(predict, volume))
            if sd is not None:
                sd.add(values)
            return values

        mean = saved_probabilities(ensemble_mean(members, probabilities), self._dtype)
        return CasePrediction(mean, record, None if sd is None else disagreement_map(sd.result()))

    def _predictors(self, fold: int | None) -> list[Predictor]:
        """Load the networks of the held-out `fold` and free the others."""
        members = [m for m in self.members if fold is None or m.fold == fold]
        load = partial(load_member, inference=self.inference, precision=self.precision, compiled=self._compiled)
        self._loaded = {m.checkpoint: self._loaded.get(m.checkpoint) or load(m) for m in members}
        return list(self._loaded.values())

    def _check_labels(self, labels: LabelScheme) -> None:
        for run in {str(m.run.path): m.run for m in self.members}.values():
            trained = LabelScheme.of_run(run.config())
            if not trained.has_regions_of(labels):
                raise ConfigError(
                    f"{run.path} was trained on {', '.join(trained.regions)} of labels={trained.name}, not on "
                    f"{', '.join(labels.regions)} of labels={labels.name}; set labels={trained.name}"
                )

    def _check_data(self, store: CaseStore) -> None:
        raw, where = "give the folder of raw cases as job.source", store.folder
        for run in {str(m.run.path): m.run for m in self.members}.values():
            has_data = run.manifest().get("data_fingerprint") == store.fingerprint
            if has_data and has_its_fold(run, store):
                continue
            if "imported" in run.manifest():
                raise DataError(
                    f"{run.path} was imported with other held-out cases than those of this fold in {where}; {raw}"
                )
            if has_data:
                raise DataError(
                    f"{run.path} was trained with other folds than those of {where}, so it was trained on cases "
                    f"that it would predict; train it again, restore its folds.json, or {raw}"
                )
            raise DataError(
                f"{run.path} was trained on different data from {where}, so its held-out cases are unknown; "
                f"train it again, or {raw}"
            )

    def _check_spacing(self, wanted: list[float] | None) -> None:
        for member in self.members:
            trained = (member.run.identity() or {}).get("data.spacing")
            if trained != wanted:
                raise ConfigError(
                    f"data.spacing={build.shown_spacing(wanted)}, but {member.run.path} was trained on "
                    f"{build.shown_spacing(trained)}; set data.spacing={build.shown_spacing(trained)}"
                )

    def _check_folds(self) -> None:
        available = {m.fold for m in self.members}
        missing = sorted({f for c in self.source.case_ids if (f := self.source.fold_of.get(c)) is not None} - available)
        if missing:
            raise ConfigError(
                f"job.runs has no finished run of fold {missing[0]}; train it, or leave its cases out of job.cases"
            )

    def _check_disagreement(self) -> None:
        for fold in dict.fromkeys(self.source.fold_of.get(c) for c in self.source.case_ids):
            count = sum(fold is None or member.fold == fold for member in self.members)
            if count < 2:
                whose = "there is 1" if fold is None else f"fold {fold} has {count}"
                raise ConfigError(
                    f"job.disagreement=true needs two or more networks for each case, and {whose}; set "
                    "job.checkpoints=2, or add experiments to job.runs"
                )


def load_network(cfg: DictConfig, member: EnsembleMember) -> SegmentationModel:
    """Build the network of a run's configuration `cfg` with the member's weights, in fp32 on the CPU.

    Raises:
        RunFailed: the checkpoint is damaged, or has a different configuration from its run; names the differences.
        ConfigError: the network does not support the window of `cfg.inference`.
    """
    content = checkpoint.load(member.checkpoint)
    check_checkpoint(member, content.get("identity", {}))
    if (reason := whole_volume_and_model({"inference": dict(cfg.inference), "model": dict(cfg.model)})) is not None:
        raise ConfigError(reason)
    model = build.build_model(cfg)
    checkpoint.load_weights(member.checkpoint, model, content)
    return model.eval()


def load_member(member: EnsembleMember, inference: DictConfig, precision: Precision, *, compiled: bool) -> Predictor:
    """Rebuild the member's network from its run's configuration, with the window of `inference`.

    The command line does not change the network, so experiments of any architecture and size can be averaged.

    Raises:
        RunFailed, ConfigError: as `load_network`.
    """
    cfg = OmegaConf.create(member.run.config())
    assert isinstance(cfg, DictConfig)
    cfg.inference = inference
    model = load_network(cfg, member)
    build.execute_on(model, precision.device).eval()
    channels: InputChannels = build.instantiate(cfg.inputs)
    modalities = build.input_modalities(cfg)
    input_key = str((modalities, {**cfg.inputs, "modalities": None}))
    predict = build_predictor(cfg, model, precision, compiled=compiled)
    return Predictor(modalities, channels, input_key, predict)
