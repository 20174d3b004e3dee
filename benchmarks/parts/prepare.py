"""Preprocessing of one case from its compressed NIfTI files on one core: `job=prepare` and nnU-Net v2."""

from __future__ import annotations

import itertools
import shutil

from brats_ablate.data.case_reader import ReadingRules
from brats_ablate.data.preprocess import preprocess_case
from dataset import LABELS, Dataset
from measuring import Comparison, Options, Row, Table, cpu_seconds, interleave, one_core

OURS, NNUNET = "ours (job=prepare)", "nnU-Net v2 preprocessing"


def measure(options: Options) -> list[Table]:
    """Measure the preprocessing time: one table."""
    from peers.nnunet import NnUNet

    dataset = Dataset(options)
    peer = NnUNet(dataset)
    assert peer.plans is not None  # fingerprinting and planning are not timed
    one_core()
    target = options.work / "prepared_again"
    our_cases, peer_cases = itertools.cycle(dataset.raw), itertools.cycle(dataset.raw)

    def prepare() -> None:
        problem = preprocess_case(next(our_cases), target, ReadingRules(LABELS))
        if problem:
            raise RuntimeError(problem)

    candidates = {OURS: cpu_seconds(prepare), NNUNET: cpu_seconds(lambda: peer.preprocess(next(peer_cases)))}
    times = interleave(candidates, max(options.rounds, 1 if options.quick else len(dataset.raw)))
    shutil.rmtree(target)
    return [
        Table(
            "Preparing one case, one core, files in the page cache",
            "s",
            [Row(name, values) for name, values in times.items()],
            [Comparison("nnU-Net v2", OURS, NNUNET)],
            note=f"A different case in each round, from {dataset.described}. Without nnU-Net's fingerprinting and planning.",
        )
    ]
