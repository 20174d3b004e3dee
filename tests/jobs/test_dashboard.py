"""job=dashboard: what would be sent, and the one sentence where nothing can be."""

from __future__ import annotations

import pytest

from brats_ablate import tracking_dashboard as dashboard
from brats_ablate.errors import UserError

TABLE = dashboard.TableText("t", "T", ("", "A", "paper", "B", "paper"), (("Fold 0", "1", "2", "3", "4"),), "# T")


def test_the_workspace_groups_by_experiment_and_draws_every_curve() -> None:
    workspace = dashboard.make_workspace("me", "study", "phantom")
    panels = workspace.sections[0].panels
    assert [panel.title for panel in panels] == list(dashboard.CURVES)
    assert [panel.y for panel in panels] == [[curve] for curve in dashboard.CURVES]
    assert {panel.x for panel in panels} == {"epoch"}
    assert [group.name for group in workspace.runset_settings.groupby] == ["experiment"]


def test_the_report_holds_tables_curves_and_settings() -> None:
    report = dashboard.make_report("me", "study", "phantom", [TABLE])
    assert report.blocks[0].text == "# T"
    grids = [block for block in report.blocks if hasattr(block, "runsets")]
    assert len(grids) == 2
    assert {grid.runsets[0].groupby[0] for grid in grids} == {"config.experiment"}


def test_columns_of_a_table_have_names_of_their_own() -> None:
    assert dashboard._unique(TABLE.header) == ["row", "A", "A paper", "B", "B paper"]


def test_offline_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(UserError, match="needs Weights & Biases online; run `wandb login`"):
        dashboard.publish("study", None, "phantom", [TABLE])
