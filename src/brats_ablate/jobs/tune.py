"""`job=tune`: exact, exhaustive search of thresholds and post-processing. Reads predictions/, writes tuned.yaml.

Uses the saved, cross-validated probabilities of `job=predict`. The setting of a fold is chosen on the other folds'
cases, so the scores that `job=predict job.settings=…` reaches are unbiased. The in-sample scores are shown for
comparison.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from omegaconf import DictConfig

from brats_ablate.config.command import options_of_data, shell_command
from brats_ablate.errors import ConfigError
from brats_ablate.jobs.build import build_scheme, open_store
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.tuning.component_grid import PostprocessGrid
from brats_ablate.tuning.result import write_settings
from brats_ablate.tuning.search import cross_validated_cases, search
from brats_ablate.tuning.threshold_grid import ThresholdGrid

_NAMED_IN_YAML = ("wt", "tc", "et", "others")


def run(
    cfg: DictConfig,
    *,
    predictions: str,
    thresholds: dict[str, list[float]],
    most_voxels: int,
    probabilities: list[float],
    connectivity: Literal[6, 18, 26],
    workers: int | None,
) -> None:
    """Search, print the result, and write `tuned.yaml` into the folder of predictions.

    Raises:
        ConfigError: a grid is invalid.
        DataError: the predictions are not cross-validated, or their probabilities were not saved.
    """
    scheme = build_scheme(cfg)
    grid = _threshold_grid(thresholds, scheme)
    if most_voxels < 1 or not probabilities:
        raise ConfigError(f"job.most_voxels={most_voxels} must be at least 1, and job.probabilities not empty")
    postprocess_grid = PostprocessGrid(most_voxels, tuple(sorted(probabilities)))

    folder = Path(cfg.paths.predictions) / predictions
    store = open_store(cfg)
    cases = cross_validated_cases(folder, store)
    result = search(cases, grid, postprocess_grid, connectivity, workers)
    file = folder / "tuned.yaml"
    write_settings(file, result, predictions, store.fingerprint)
    result.show(predictions)
    applied = ("job.output=<new name>", f"job.reuse={predictions}", f"job.settings={file}")
    print(f"apply with: {shell_command('job=predict', *options_of_data(cfg), *applied)}")


def _threshold_grid(thresholds: dict[str, list[float]], scheme: LabelScheme) -> ThresholdGrid:
    names = [region.lower() for region in scheme.regions]
    if unknown := [name for name in thresholds if name not in (*names, *_NAMED_IN_YAML)]:
        raise ConfigError(
            f"job.thresholds.{unknown[0]} is no region of labels={scheme.name}; choose {', '.join(names)}"
        )
    for name, values in thresholds.items():
        if values is not None and (not isinstance(values, list) or not all(isinstance(v, float | int) for v in values)):
            raise ConfigError(
                f"job.thresholds.{name}={values} is no list of numbers; write job.thresholds.{name}=[0.5]"
            )
    of_region = {region: thresholds.get(region.lower(), thresholds.get("others")) for region in scheme.regions}
    if absent := [region for region, values in of_region.items() if not values]:
        raise ConfigError(f"job.thresholds.{absent[0].lower()} is missing; give the candidates of {absent[0]}")
    try:
        return ThresholdGrid({region: tuple(values or ()) for region, values in of_region.items()})
    except ValueError as error:
        raise ConfigError(f"job.thresholds.{error}") from error
