"""Which modalities the networks of `job=predict` take, and which of them a case must have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf

from brats_ablate.cases import RawCase
from brats_ablate.inference.ensemble import EnsembleMember

DROP_MODALITY = "brats_ablate.transforms.drop_modality.DropModality"


@dataclass(frozen=True)
class NetworkInputs:
    """The modalities of one network."""

    modalities: tuple[str, ...]
    may_lack_some: bool
    """Trained with `transforms.drop_modality`."""


def inputs_of(members: Iterable[EnsembleMember]) -> list[NetworkInputs]:
    """Return the inputs of each member's run, as its recorded configuration says."""
    from brats_ablate.jobs.build import input_modalities

    runs = {str(member.run.path): member.run for member in members}
    networks = []
    for run in runs.values():
        cfg = OmegaConf.create(run.config())
        assert isinstance(cfg, DictConfig)
        transforms = cfg.augment.get("transforms") or {}
        drops = any(t.get("_target_") == DROP_MODALITY and t.get("p", 0) > 0 for t in transforms.values())
        networks.append(NetworkInputs(input_modalities(cfg), drops))
    return networks


def required_modalities(networks: Sequence[NetworkInputs]) -> list[str]:
    """Return what every case must have: the modalities of the networks that were not trained for missing ones."""
    return list(dict.fromkeys(m for network in networks if not network.may_lack_some for m in network.modalities))


def without_any_modality(cases: Iterable[RawCase], networks: Sequence[NetworkInputs]) -> dict[str, str]:
    """Return case id -> reason for the cases that have no modality at all for one of the networks."""
    return {
        case.case_id: f"no modality of {', '.join(network.modalities)} is there, and the networks need one; add a file"
        for case in cases
        for network in networks
        if not case.images.keys() & set(network.modalities)
    }


def describe_missing(cases: Sequence[RawCase], networks: Sequence[NetworkInputs]) -> str | None:
    """Return a sentence on the modalities that cases lack and networks take as 0; None if there are none."""
    taken = list(dict.fromkeys(m for network in networks for m in network.modalities))
    lacking = Counter(m for case in cases for m in taken if m not in case.images)
    if not lacking:
        return None
    counts = ", ".join(f"{m} in {count}" for m, count in lacking.items())
    return f"missing modalities, 0 in the networks' input, as in their training: {counts} of {len(cases)} cases"
