"""brats-ablate: ablation studies of brain tumor segmentation, from raw NIfTI to the paper's tables.

The package is laid out along the flow of data (see docs/architecture.md). Importing it imports nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Literal

    from pandas import DataFrame

__all__ = ["__version__", "results"]
__version__ = "0.1.0"


def results(work: str | Path, epoch: Literal["best", "last", "all"] = "best") -> DataFrame:
    """Read the per-case validation results of all runs of a data set, finished or not.

    Args:
        work: the data set's work folder, e.g. `work/brats21`, or its folder of runs.
        epoch: which validated epochs of each run: the best by mean Dice, the last, or all.

    Returns:
        One row per run, epoch, case, region and metric, with the columns experiment (str), fold (int), lr (float),
        seed (int), epoch (int), case (str), region (str: WT, TC or ET), metric (str), value (float)
        and training_cases (Int64, of the run; absent where an earlier version recorded none). The metric is `dice`; of
        ET also `reference_voxels`, the voxels of the reference, where recorded.

    Raises:
        DataError: `work` is not a folder.
        ValueError: an unknown `epoch`.

    Examples:
        >>> rows = brats_ablate.results("work/brats21")  # doctest: +SKIP
        >>> dice = rows[rows.metric == "dice"]  # doctest: +SKIP
        >>> dice.groupby(["experiment", "region"]).value.mean().unstack()  # doctest: +SKIP
    """
    from pathlib import Path

    from brats_ablate.tables.results import results as read_results

    return read_results(Path(work), epoch)
