"""Publish a study in Weights & Biases: a workspace and a report that compare its variants, and the tables."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from brats_ablate.errors import UserError
from brats_ablate.runtime.text import first_line
from brats_ablate.tracking.base import RunInfo
from brats_ablate.tracking.wandb import IMAGE_KEY, MASKS_KEY, STEP_PREFIX, WandbTracker

if TYPE_CHECKING:
    import wandb_workspaces.reports.v2 as reports
    import wandb_workspaces.workspaces as workspaces
    from pandas import DataFrame


def make_workspace(entity: str, project: str, study: str, regions: Sequence[str]) -> workspaces.Workspace:
    """Make a view of the project: runs grouped by experiment, so that each curve is mean ± SD over folds."""
    import wandb_workspaces.workspaces as workspaces

    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=f"Variants of {study}",
        sections=[workspaces.Section(name="By experiment", panels=_panels(regions), is_open=True)],
        runset_settings=workspaces.RunsetSettings(groupby=[workspaces.Config("experiment")]),
    )


def make_report(entity: str, project: str, study: str, regions: Sequence[str], texts: Sequence[str]) -> reports.Report:
    """Make a report: the tables as Markdown, then the curves of all runs and their config diff."""
    import wandb_workspaces.reports.v2 as reports

    runs = reports.Runset(entity=entity, project=project, name="by experiment", groupby=["config.experiment"])
    blocks: list[Any] = [reports.MarkdownBlock(text=text) for text in texts]
    blocks += [
        reports.H2(text="Learning curves"),
        reports.PanelGrid(runsets=[runs], panels=_panels(regions)),
        reports.H2(text="Config diff"),
        reports.PanelGrid(runsets=[runs], panels=[reports.RunComparer(diff_only=True)]),
    ]
    return reports.Report(
        entity=entity, project=project, title=f"Ablation study, {study}", blocks=blocks, width="fluid"
    )


def publish(
    run: RunInfo,
    project: str,
    entity: str | None,
    study: str,
    regions: Sequence[str],
    tables: Mapping[str, DataFrame],
    texts: Sequence[str],
) -> tuple[str, str]:
    """Log the tables as `run`, save workspace and report, and return the addresses of both.

    The owner `entity` of the project is the user who is logged in if None. `study` is the name of the data set,
    `regions` those of its labels.
    `tables` are logged as W&B Tables; `texts` are the same as Markdown, for the report.

    Raises:
        UserError: W&B is not reachable, nobody is logged in, or wandb-workspaces is not installed.
    """
    if find_spec("wandb_workspaces") is None:
        raise UserError("job=dashboard needs wandb-workspaces; install it with pip install 'brats-ablate[wandb]'")
    import wandb

    try:
        entity = _entity_online(entity)
        tracker = WandbTracker(run, project, entity, "online")  # first: it creates the project that the report needs
        tracker.log_tables(tables)
        tracker.finish()
        workspace = make_workspace(entity, project, study, regions)
        report = make_report(entity, project, study, regions, texts)
        workspace.save()
        report.save()
    except (wandb.errors.Error, OSError) as error:
        raise _unreachable(error) from error
    return str(workspace.url), str(report.url)


def _panels(regions: Sequence[str]) -> list[Any]:
    import wandb_workspaces.reports.v2 as reports

    names = ("dice", *(f"dice/{region}" for region in regions), "loss", "lr", "patches_per_second")
    axes = {**dict.fromkeys(names, "epoch"), f"{STEP_PREFIX}loss": "step"}
    curves = [
        reports.LinePlot(title=name, x=axis, y=[name], groupby_aggfunc="mean", groupby_rangefunc="stddev")
        for name, axis in axes.items()
    ]
    return [*curves, reports.MediaBrowser(title="a validation case", media_keys=[IMAGE_KEY, MASKS_KEY])]


def _entity_online(entity: str | None) -> str:
    """Return `entity`, or that of the user who is logged in; contacts W&B in either case, to fail before any work."""
    import wandb

    if os.environ.get("WANDB_MODE", "online") != "online":
        raise UserError(_NEEDS_WANDB)
    try:
        default = wandb.Api(timeout=20).default_entity
    except ValueError as error:  # a key of the wrong form
        raise _unreachable(error) from error
    if default is None:
        raise UserError(_NEEDS_WANDB)
    return entity or str(default)


def _unreachable(error: Exception) -> UserError:
    return UserError(f"{_NEEDS_WANDB} ({type(error).__name__}: {first_line(error)})")


_NEEDS_WANDB = "job=dashboard needs Weights & Biases online; run `wandb login` and unset WANDB_MODE, or see job=report"
