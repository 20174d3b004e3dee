"""The entry point: a Hydra application that runs the chosen `job`, by default training."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from brats_ablate.config.arguments import as_hydra_reads, unknown_flag
from brats_ablate.config.hydra_mode import searched_in_own_files_only
from brats_ablate.config.locations import (
    check_names,
    make_importable,
    own_config_dirs,
    pass_on_config_dir,
    resource_dir,
)
from brats_ablate.runtime import exit_code
from brats_ablate.runtime.output import outlive_readers, print_message


@hydra.main(version_base="1.3", config_path=str(resource_dir("conf")), config_name="config")
def application(cfg: DictConfig) -> float | None:
    """Check and execute one composed configuration, and return the score of a trained run (`objective`).

    That is Hydra's convention for sweepers. `main` exits with the recorded exit code.

    Raises:
        JobFailed: the exit code of a sweep's job is not 0.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from brats_ablate.config.command import record_options
    from brats_ablate.errors import JobFailed, Unreadable
    from brats_ablate.jobs.execute import execute
    from brats_ablate.launch.sweep import score

    if OmegaConf.select(cfg, "about.options") is None:
        record_options(cfg, HydraConfig.get().overrides.task)
    refusal = _without_effect(cfg)
    if refusal is not None:
        print_message(refusal)
    code = execute(cfg) if refusal is None else 2
    exit_code.record(code)
    if code == 0:
        with contextlib.suppress(Unreadable):  # of a run that finished before; tables and job=verify name it
            return score(cfg)
    elif HydraConfig.get().mode == RunMode.MULTIRUN:
        raise JobFailed(code)
    return None


def main() -> None:
    """Run the application and exit with 0, with 2 for a configuration error, else with 1."""
    from brats_ablate.config.messages import format_error
    from brats_ablate.errors import UserError
    from brats_ablate.jobs import resolvers
    from brats_ablate.runtime.files import os_error_message

    if os.name == "nt":
        sys.exit("brats-ablate: Windows has no locks of files as used here; use Linux, macOS, or WSL on Windows")
    outlive_readers()
    exit_code.reset()
    resolvers.register()  # also for --cfg job --resolve, which runs no job
    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise its errors, so that they become one sentence
    if "--version" in sys.argv:
        print(_version())
        sys.exit()
    if (refusal := unknown_flag(sys.argv[1:])) is not None:
        print_message(refusal)
        sys.exit(2)
    sys.argv[1:] = as_hydra_reads(sys.argv[1:])
    pass_on_config_dir()
    make_importable([Path.cwd(), *own_config_dirs()])
    try:
        check_names()
        with searched_in_own_files_only(sys.argv[1:]):
            _help() if {"--help", "-h"} & set(sys.argv) else application()
    except KeyboardInterrupt:
        sys.exit("brats-ablate: interrupted; re-run the same command to resume")
    except UserError as error:
        print_message(error)
        exit_code.record(error.exit_code)
    except Exception as error:
        sentence, code = format_error(error), 2
        if sentence is None and isinstance(error, OSError):
            sentence, code = os_error_message(error), 1
        if sentence is None:
            raise
        print_message(sentence)
        sys.exit(code)
    sys.exit(exit_code.highest())


def _help() -> None:
    """Print the help, with the experiments' questions."""
    from brats_ablate.config.help import with_questions

    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
        application()
    print(with_questions(text.getvalue()), end="")


def _version() -> str:
    """Return the versions that a report of a bug needs."""
    from importlib.metadata import version
    from platform import python_version

    from brats_ablate.runs.provenance import code_version

    of_packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "monai", "hydra-core"))
    return f"brats-ablate {code_version()} ({of_packages}, Python {python_version()})"


def _without_effect(cfg: DictConfig) -> str | None:
    """Return a sentence if Hydra accepts the command line but ignores a part of it; else None."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from brats_ablate.runs.directory import trains_a_run
    from hydra_plugins._brats_ablate_checked import SWEEP_JOBS

    hydra_cfg = HydraConfig.get()
    if hydra_cfg.mode != RunMode.RUN:
        return None
    for override in hydra_cfg.overrides.hydra:
        if override.startswith(("hydra/launcher=", "hydra/sweeper=")):
            return f"{override} applies to sweeps only; add -m"
    task, job = list(hydra_cfg.overrides.task), str(OmegaConf.select(cfg, "job._target_"))
    concerns_runs = trains_a_run(job) or job in SWEEP_JOBS
    if concerns_runs and hydra_cfg.sweeper.get("params"):
        return "hydra.sweeper.params applies to sweeps only; add -m"
    has_typed_design = any(o.startswith("design=") for o in task)
    if (concerns_runs or has_typed_design) and OmegaConf.select(cfg, "design.kind") is not None:
        return "a design is a sweep over its combinations; add -m"
    if any(o.startswith("+experiment=[") for o in task) and not any(o.startswith("name=") for o in task):
        return (
            "+experiment=[…] merges experiments under the last one's name; set name=… for the merged one, "
            "or write +experiment=a,b -m to run each"
        )
    return None


if __name__ == "__main__":
    main()
