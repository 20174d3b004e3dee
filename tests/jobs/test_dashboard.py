"""job=dashboard: the content sent to W&B, built and serialized by its own library, and the error messages."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest
import wandb

from brats_ablate.errors import UserError
from brats_ablate.tracking import dashboard
from brats_ablate.tracking import wandb as wandb_tracker
from brats_ablate.tracking.base import RunInfo

TABLE = pd.DataFrame({"": ["Fold 0"], "A": [1], "A paper": [2], "B": [3], "B paper": [4]}, dtype=object)


class Server:
    """Answers the requests of the library, and records what it sends."""

    default_entity = "me"

    def __init__(self, **_: Any) -> None:
        self._service_api = self
        self.app_url = "https://wandb.example.org"

    views: ClassVar[list[dict[str, Any]]] = []

    def execute_graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if "upsertView" not in query:
            assert variables == {"entityName": "me", "projectName": "study"}
            return {"project": {"internalId": "UHJvamVjdA=="}}
        self.views.append(variables)
        view = {"id": "Vmlldw==", "name": variables["name"], "displayName": variables["displayName"]}
        view |= {"description": variables["description"], "spec": variables["spec"]}
        view |= {"project": {"name": "study", "entityName": "me"}, "createdAt": "2025-01-01", "updatedAt": "2025-01-01"}
        view |= {"user": {"username": "me", "name": "me"}}
        return {"upsertView": {"view": view, "inserted": True}}

    def projects(self, entity: str) -> list[Any]:
        return []

    def create_project(self, name: str, entity: str) -> None:
        assert (name, entity) == ("study", "me")


@pytest.fixture(name="server", autouse=True)
def _server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Server]]:
    """No network: W&B's interface is the stub, and runs are written offline."""
    monkeypatch.setattr(wandb, "Api", Server)
    monkeypatch.setattr(wandb_tracker, "resolve_mode", lambda mode: "offline")
    monkeypatch.setattr(Server, "views", [])
    for name in ("WANDB_SERVICE", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    yield Server
    sys.modules["wandb"].teardown()
    os.environ.pop("WANDB_SERVICE", None)


def publish(folder: Path, entity: str | None = None) -> tuple[str, str]:
    run = RunInfo("tables", "phantom", "tables", folder, {})
    return dashboard.publish(run, "study", entity, "phantom", ["WT", "RC"], {"t": TABLE}, ["# T"])


def drawn(panels: list[dict[str, Any]]) -> list[list[str]]:
    return [panel["config"].get("metrics") or panel["config"]["mediaKeys"] for panel in panels]


CURVES = [["dice"], ["dice/WT"], ["dice/RC"], ["loss"], ["lr"], ["patches_per_second"], ["step/loss"]]
EVERYTHING = [*CURVES, ["picture", "masks"]]


@pytest.mark.slow
def test_the_workspace_sent_groups_by_experiment_and_draws_every_curve(tmp_path: Path, server: type[Server]) -> None:
    address, _ = publish(tmp_path)
    view = server.views[0]
    assert (view["type"], view["displayName"]) == ("project-view", "Variants of phantom")
    spec = json.loads(view["spec"])["section"]
    (section,) = spec["panelBankConfig"]["sections"]
    assert drawn(section["panels"]) == EVERYTHING
    curves = [p["config"] for p in section["panels"] if "xAxis" in p["config"]]
    assert [c["xAxis"] for c in curves] == ["epoch"] * 6 + ["step"]
    assert {(c["groupAgg"], c["groupArea"]) for c in curves} == {("mean", "stddev")}  # over the folds
    assert [runs["grouping"] for runs in spec["runSets"]] == [[{"section": "config", "name": "experiment.value"}]]
    assert address.startswith("https://wandb.example.org/me/study?nw=")


@pytest.mark.slow
def test_the_report_sent_holds_tables_curves_and_settings(tmp_path: Path, server: type[Server]) -> None:
    _, address = publish(tmp_path, entity="me")
    view = server.views[1]
    assert (view["type"], view["displayName"]) == ("runs", "Ablation study, phantom")
    blocks = [block for block in json.loads(view["spec"])["blocks"] if block["type"] != "paragraph"]
    assert [b["type"] for b in blocks] == ["markdown-block", "heading", "panel-grid", "heading", "panel-grid"]
    assert blocks[0]["content"] == "# T"
    curves, settings = (block["metadata"] for block in blocks if block["type"] == "panel-grid")
    panels = curves["panelBankSectionConfig"]["panels"]
    assert drawn(panels) == EVERYTHING
    places = [tuple(panel["layout"].values()) for panel in panels]
    assert len(set(places)) == len(places)  # none upon another
    assert settings["panelBankSectionConfig"]["panels"][0]["viewType"] == "Run Comparer"
    assert {runs["grouping"][0]["name"] for grid in (curves, settings) for runs in grid["runSets"]} == {
        "experiment.value"
    }
    assert address.startswith("https://wandb.example.org/me/study/reports/")


@pytest.mark.parametrize("entity", [None, "me"])
def test_offline_is_reported_in_one_sentence(
    entity: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(UserError, match="needs Weights & Biases online; run `wandb login`"):
        publish(tmp_path, entity)
    assert list(tmp_path.iterdir()) == []


def test_no_login_is_reported_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise wandb.errors.UsageError("No API key configured.\nMore words.")

    monkeypatch.setattr(wandb, "Api", refuse)
    with pytest.raises(UserError, match=r"run `wandb login` .* \(UsageError: No API key configured\)$"):
        publish(tmp_path)
    assert list(tmp_path.iterdir()) == []
