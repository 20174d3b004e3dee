"""The study in Weights & Biases: a workspace and a report that compare its variants, and the tables as W&B Tables.

run directories ─tables→ sheets ─here→ W&B, beside the runs of `tracking`; these two alone know wandb.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brats_ablate.errors import UserError
from brats_ablate.labels import REGIONS

if TYPE_CHECKING:
    import wandb_workspaces.reports.v2 as reports
    import wandb_workspaces.workspaces as workspaces

CURVES = ("dice", *(f"dice/{region}" for region in REGIONS), "loss", "lr", "patches_per_second")
"""What `tracking` logs of every epoch and the dashboard draws."""


@dataclass(frozen=True)
class TableText:
    """One table as text: what `analysis` renders."""

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    markdown: str


def make_workspace(entity: str, project: str, study: str) -> workspaces.Workspace:
    """A view of the project with the runs grouped by experiment and one panel per curve."""
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


def publish(project: str, entity: str | None, study: str, tables: Sequence[TableText]) -> tuple[str, str]:
    """Log the tables and save workspace and report; returns their two addresses.

    Raises:
        UserError: W&B is not reachable, or nobody is logged in.
    """
    import wandb

    entity = entity or _own_entity()
    quiet, name = wandb.Settings(silent=True), f"tables of {study}"
    with wandb.init(project=project, entity=entity, job_type="tables", name=name, settings=quiet) as run:
        run.log({t.name: wandb.Table(columns=_unique(t.header), data=[list(row) for row in t.rows]) for t in tables})
    workspace = make_workspace(entity, project, study)
    workspace.save()
    report = make_report(entity, project, study, tables)
    report.save()
    return str(workspace.url), str(report.url)


def _panels() -> list[Any]:
    import wandb_workspaces.reports.v2 as reports

    return [reports.LinePlot(title=curve, x="epoch", y=[curve], groupby_rangefunc="minmax") for curve in CURVES]


def _own_entity() -> str:
    """The entity of whoever is logged in."""
    import wandb

    offline = os.environ.get("WANDB_MODE") in ("offline", "disabled", "dryrun")
    try:
        entity = None if offline else wandb.Api(timeout=20).default_entity
    except (wandb.errors.Error, OSError, ValueError) as error:
        raise UserError(_SENTENCE) from error
    if entity is None:
        raise UserError(_SENTENCE)
    return str(entity)


_SENTENCE = "job=dashboard needs Weights & Biases online; run `wandb login` and unset WANDB_MODE, or see job=report"


def _unique(header: Sequence[str]) -> list[str]:
    """ "paper" stands beside every column, and a W&B Table wants every name once."""
    return [f"{header[i - 1]} paper" if text == "paper" else text or "row" for i, text in enumerate(header)]
