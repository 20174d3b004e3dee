"""The entry point: a Hydra application whose `job` says what is done; training unless told otherwise."""

from __future__ import annotations

import os
import sys

import hydra
from omegaconf import DictConfig

from brats_ablate.config.locations import resource_dir

_exit_codes: list[int] = []


@hydra.main(version_base="1.3", config_path=str(resource_dir("conf")), config_name="config")
def application(cfg: DictConfig) -> int:
    """Check and execute one composed configuration. Never raises: the exit code is kept for `main`."""
    from brats_ablate.jobs.execute import execute

    refusal = _without_effect()
    if refusal is not None:
        print(f"brats-ablate: {refusal}", file=sys.stderr)
    code = execute(cfg) if refusal is None else 2
    _exit_codes.append(code)
    return code


def main() -> None:
    """Run the application and exit with 0, with 2 for a configuration error, else with 1."""
    from brats_ablate.config.messages import format_error

    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise its errors, so that they can be told in one sentence
    sys.argv[1:] = _multirun_first(_packaged_sweeps(sys.argv[1:]))
    try:
        application()
    except KeyboardInterrupt:
        sys.exit("brats-ablate: interrupted; the same command continues where it stopped")
    except Exception as error:
        sentence = format_error(error)
        if sentence is None:
            raise
        print(f"brats-ablate: {sentence}", file=sys.stderr)
        sys.exit(2)
    sys.exit(max(_exit_codes, default=0))


def _without_effect() -> str | None:
    """One sentence where Hydra accepts a command line and does something else than it says; else None."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra_cfg = HydraConfig.get()
    if hydra_cfg.mode != RunMode.RUN:
        return None
    for override in hydra_cfg.overrides.hydra:
        if override.startswith("hydra/launcher="):
            return f"{override} launches sweeps only; add -m"
    task = list(hydra_cfg.overrides.task)
    if any(o.startswith("+experiment=[") for o in task) and not any(o.startswith("name=") for o in task):
        return (
            "+experiment=[…] merges experiments under the last one's name; give the merged one a name=… of its own, "
            "or write +experiment=a,b -m to run each"
        )
    return None


def _multirun_first(arguments: list[str]) -> list[str]:
    """`-m` may stand anywhere: Hydra's parser takes overrides on one side of it only."""
    flags = [a for a in arguments if a in ("-m", "--multirun")]
    return flags + [a for a in arguments if a not in flags]


def _packaged_sweeps(arguments: list[str]) -> list[str]:
    """`-cd sweeps` means the installed sweeps where the current directory has no such folder."""
    if os.path.isdir("sweeps"):
        return arguments
    installed = str(resource_dir("sweeps"))
    return [
        installed if value == "sweeps" and previous in ("-cd", "--config-dir") else value
        for previous, value in zip(["", *arguments], arguments, strict=False)
    ]


if __name__ == "__main__":
    main()
