"""Time that a process spends, once per case, to compare a prepared case with its content hash."""

from __future__ import annotations

import time
from collections.abc import Callable

from brats_ablate.data.store import CaseStore
from dataset import Dataset
from measuring import Options, Row, Table, interleave, one_core

HASHED, READ = "decompressed and compared with its hash", "decompressed only"


def measure(options: Options) -> list[Table]:
    """Measure both on all cases of the data set: one table."""
    one_core()
    dataset = Dataset(options)
    store, case_ids = dataset.store, dataset.case_ids

    def milliseconds(work: Callable[[CaseStore, str], object]) -> Callable[[], float]:
        def measured() -> float:
            started = time.perf_counter()
            for case_id in case_ids:
                work(store, case_id)
            return 1000 * (time.perf_counter() - started) / len(case_ids)

        return measured

    def read(store: CaseStore, case_id: str) -> None:
        store.read_images(case_id)
        store.read_labels(case_id)

    times = interleave({HASHED: milliseconds(CaseStore.verify), READ: milliseconds(read)}, options.rounds)
    rows = [Row(name, values) for name, values in times.items()]
    note = f"{dataset.described}; in training it happens on the reading threads, at a case's first use."
    return [Table("Checking a prepared case, once per process", "ms", rows, note=note)]
