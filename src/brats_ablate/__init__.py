"""brats-ablate: ablation studies of brain tumor segmentation, from raw NIfTI to the paper's tables.

The package is laid out along the flow of data (see docs/architecture.md). Importing it imports nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path
    from typing import Literal

    from pandas import DataFrame

    from brats_ablate.jobs.predict.case_predictor import CasePredictor

    __version__: str

__all__ = ["__version__", "load_predictor", "results"]


def __getattr__(name: str) -> str:
    """Return `__version__`, that of the installed package."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from brats_ablate.runtime.version import package_version

    return package_version()


def load_predictor(
    runs: str | Path | Sequence[str | Path],
    device: str = "auto",
    *,
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] | None = None,
    inference: str | None = None,
    postprocess: str | None = None,
    settings: str | Path | None = None,
    checkpoints: int = 2,
    lr: float | Literal["best"] = "best",
    seed: int = 0,
    trust: Collection[str] = (),
) -> CasePredictor:
    """Load trained networks as a function from the images of a case to labels and probabilities.

    Args:
        runs: a run directory, the folder of an experiment with its folds (`work/brats21/runs/ds`), or several of
            these, which make one ensemble.
        device: where the networks run: cpu, cuda, one of several GPUs as cuda:1, or auto: a GPU if there is one.
        precision: of the networks; None for that of the first run's configuration, whose `auto` is what suits the
            device.
        inference: an option of `conf/inference`, e.g. sliding_window_without_tta; None for what the first run recorded.
        postprocess: an option of `conf/postprocess`, e.g. paper; None for what the first run recorded.
        settings: a tuned.yaml of `job=tune`, in place of thresholds and post-processing.
        checkpoints: at most this many of each run, best first.
        lr: of an experiment's runs: one learning rate, or in each fold the one with the highest Dice.
        seed: of an experiment's runs.
        trust: classes of others that the runs or settings may name (docs/security.md).

    Returns:
        `predictor(images, affine=None)`; see `jobs.predict.case_predictor.CasePredictor`.

    Raises:
        ConfigError: a path is no run, an option does not exist, or a run names a class that is not trusted.
        RunFailed: a run has no checkpoint, or was edited after it was trained.

    Examples:
        >>> predict = brats_ablate.load_predictor("work/brats21/runs/ds")  # doctest: +SKIP
        >>> case = predict("/data/BraTS2021_00000")  # doctest: +SKIP
        >>> case.labels.shape, case.probabilities.shape, case.regions  # doctest: +SKIP
        ((240, 240, 155), (3, 240, 240, 155), ('WT', 'TC', 'ET'))
    """
    from brats_ablate.jobs.predict.case_predictor import load_predictor as load

    return load(
        runs,
        device,
        precision=precision,
        inference=inference,
        postprocess=postprocess,
        settings=settings,
        checkpoints=checkpoints,
        lr=lr,
        seed=seed,
        trust=trust,
    )


def results(work: str | Path, epoch: Literal["best", "last", "all"] = "best") -> DataFrame:
    """Read the per-case validation results of all runs of a data set, finished or not.

    A run of which a record is damaged is named on standard error, and left out.

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
