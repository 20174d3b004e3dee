"""job=dashboard: the tables of the runs that exist, and a workspace and a report comparing them, into W&B."""

from __future__ import annotations

from omegaconf import DictConfig

from brats_ablate.jobs.tables import build_results, table_text, tables_run


def run(
    cfg: DictConfig, *, project: str, entity: str | None, tables: list[str] | None, resamples: int, seed: int
) -> None:
    """Publish every table that has runs.

    Raises:
        ConfigError: a table that does not exist, or whose file is wrong.
        UserError: W&B is not reachable, nobody is logged in, or wandb-workspaces is not installed.
    """
    results = [r for r in build_results(cfg, tables, resamples=resamples, seed=seed) if r.has_any]
    if not results:
        print(f"no run under {cfg.paths.runs} to show; train some first, e.g. with tracker=wandb -cd sweeps -cn demo")
        return
    from brats_ablate.tracking.dashboard import publish

    texts = [table_text(result) for result in results]
    workspace, report = publish(tables_run(cfg), project, entity, cfg.data.name, texts)
    print(f"workspace: {workspace}\nreport: {report}")
