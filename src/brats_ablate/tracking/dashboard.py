"""The study in Weights & Biases: a workspace and a report that compare its variants, and the tables as W&B Tables.

run directories ─tables→ sheets ─here→ W&B, beside the runs of `tracking`; these two alone know wandb.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from brats_ablate.errors import UserError
from brats_ablate.labels import REGIONS
from brats_ablate.tracking.base import RunInfo, TableText
from brats_ablate.tracking.wandb import PICTURE, WandbTracker

if TYPE_CHECKING:
    import wandb_workspaces.reports.v2 as reports
    import wandb_workspaces.workspaces as workspaces

CURVES = ("dice", *(f"dice/{region}" for region in REGIONS), "loss", "lr", "patches_per_second")
"""What `tracking` logs of every epoch and the dashboard draws."""


def make_workspace(entity: str, project: str, study: str) -> workspaces.Workspace:
    """A view of the project with the runs grouped by experiment, one panel per curve and one of pictures."""
    import wandb_workspaces.workspaces as workspaces

    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=f"Variants of {study}",
        sections=[workspaces.Section(name="By experiment", panels=_panels(), is_open=True)],
        runset_settings=workspaces.RunsetSettings(groupby=[workspaces.Config("experiment")]),
    )


def make_report(entity: str, project: str, study: str, tables: Sequence[TableText]) -> reports.Report:
    """A report with the tables as text, then the curves of all runs and what their settings differ in."""
    import wandb_workspaces.reports.v2 as reports

    runs = reports.Runset(entity=entity, project=project, name="by experiment", groupby=["config.experiment"])
    blocks: list[Any] = [reports.MarkdownBlock(text=table.markdown) for table in tables]
    blocks += [
        reports.H2(text="Learning curves"),
        reports.PanelGrid(runsets=[runs], panels=_panels()),
        reports.H2(text="Settings that differ"),
        reports.PanelGrid(runsets=[runs], panels=[reports.RunComparer(diff_only=True)]),
    ]
    return reports.Report(
        entity=entity, project=project, title=f"Ablation study, {study}", blocks=blocks, width="fluid"
    )


def publish(run: RunInfo, project: str, entity: str | None, study: str, tables: Sequence[TableText]) -> tuple[str, str]:
    """Log the tables as `run` and save workspace and report; returns their two addresses.

    Raises:
        UserError: W&B is not reachable, nobody is logged in, or wandb-workspaces is not installed.
    """
    if find_spec("wandb_workspaces") is None:
        raise UserError("job=dashboard needs wandb-workspaces; install it with pip install wandb-workspaces")
    import wandb

    try:
        entity = _entity_online(entity)
        tracker = WandbTracker(run, project, entity, "online")  # first: it makes the project that the report looks up
        tracker.log_tables(lambda: tables)
        tracker.finish()
        workspace = make_workspace(entity, project, study)
        workspace.save()
        report = make_report(entity, project, study, tables)
        report.save()
    except (wandb.errors.Error, OSError) as error:
        raise _unreachable(error) from error
    return str(workspace.url), str(report.url)


def _panels() -> list[Any]:
    import wandb_workspaces.reports.v2 as reports

    curves = [reports.LinePlot(title=curve, x="epoch", y=[curve], groupby_rangefunc="minmax") for curve in CURVES]
    return [*curves, reports.MediaBrowser(title="a validation case", media_keys=[PICTURE])]


def _entity_online(entity: str | None) -> str:
    """`entity`, or that of whoever is logged in; asks W&B in either case, so that nothing is begun without it."""
    import wandb

    if os.environ.get("WANDB_MODE", "online") != "online":
        raise UserError(_SENTENCE)
    try:
        own = wandb.Api(timeout=20).default_entity
    except ValueError as error:  # a key of the wrong form
        raise _unreachable(error) from error
    if own is None:
        raise UserError(_SENTENCE)
    return entity or str(own)


def _unreachable(error: Exception) -> UserError:
    first = (str(error).splitlines() or [""])[0]
    return UserError(f"{_SENTENCE} ({type(error).__name__}: {first})")


_SENTENCE = "job=dashboard needs Weights & Biases online; run `wandb login` and unset WANDB_MODE, or see job=report"
