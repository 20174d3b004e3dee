"""Preparing one case from its compressed NIfTI files, on one core: our job's and nnU-Net v2's preprocessing."""

from __future__ import annotations

import itertools
import shutil

from brats_ablate.data.preprocess import preprocess_case
from material import CONVENTION, Material
from measuring import Claim, Options, Row, Table, alternate, cpu_seconds, one_core

OURS, NNUNET = "ours (job=prepare)", "nnU-Net v2 preprocessing"


def measure(options: Options) -> list[Table]:
    """One table."""
    from peers.nnunet import NnUNet

    material = Material(options)
    peer = NnUNet(material)
    assert peer.plans is not None  # fingerprint and plan are not part of what is timed
    one_core()
    target = options.work / "prepared_again"
    ours, theirs = itertools.cycle(material.raw), itertools.cycle(material.raw)

    def prepare() -> None:
        problem = preprocess_case(next(ours), target, CONVENTION)
        if problem:
            raise RuntimeError(problem)

    contenders = {OURS: cpu_seconds(prepare), NNUNET: cpu_seconds(lambda: peer.preprocess(next(theirs)))}
    found = alternate(contenders, max(options.rounds, 1 if options.quick else len(material.raw)))
    shutil.rmtree(target)
    return [
        Table(
            "Preparing one case, one core, files in the page cache",
            "s",
            [Row(name, values) for name, values in found.items()],
            [Claim("nnU-Net v2", OURS, NNUNET, 3.0)],
            note=f"Another case each round, of {material.described}. nnU-Net's fingerprint and plan are not counted.",
        )
    ]
