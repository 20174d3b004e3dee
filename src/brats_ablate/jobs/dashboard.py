"""job=dashboard: publish the tables, and a workspace and a report that compare the runs, in W&B."""

from __future__ import annotations

from omegaconf import DictConfig

from brats_ablate.jobs.tables import results_of, table_specs, tables_run, tracked_frames


def run(
    cfg: DictConfig,
    *,
    project: str,
    entity: str | None,
    tables: list[str] | None,
    resamples: int,
    seed: int,
    rope: float,
) -> None:
    """Publish every table that has runs.

    Raises:
        ConfigError: a table that does not exist, or whose file is wrong.
        UserError: W&B is not reachable, nobody is logged in, or wandb-workspaces is not installed.
    """
    specs = table_specs(cfg, tables)
    results = [r for r in results_of(cfg, specs, resamples=resamples, seed=seed, rope=rope) if r.has_any]
    if not results:
        print(f"no run under {cfg.paths.runs} to show; train some first, e.g. with tracker=wandb -cd sweeps -cn demo")
        return
    from brats_ablate.tables.tabulate import tabulate
    from brats_ablate.tables.writers import markdown
    from brats_ablate.tracking.dashboard import publish

    parts = [tabulate(result) for result in results]
    frames = {name: frame for part in parts for name, frame in tracked_frames(part).items()}
    texts = [markdown(part[:2]) for part in parts]
    workspace, report = publish(
        tables_run(cfg), project, entity, cfg.data.name, list(cfg.labels.regions), frames, texts
    )
    print(f"workspace: {workspace}\nreport: {report}")
