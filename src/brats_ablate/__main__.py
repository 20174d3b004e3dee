"""The entry point: a Hydra application that runs the chosen `job`, by default training."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from brats_ablate.config.locations import make_importable, own_config_dir, resource_dir
from brats_ablate.runtime import exit_code

_MOVED = {"job.metrics.": "metrics.", "job.scorer.": "metrics."}
"""Start of a key of an earlier version -> the group that these keys are in now."""
_FLAGS_WITH_VALUE = (
    *("-cd", "--config-dir", "-cn", "--config-name", "-cp", "--config-path", "-p", "--package", "-c", "--cfg"),
)
_FLAGS = (
    *("--help", "--hydra-help", "--version", "--cfg", "--resolve", "--package", "--run", "--multirun", "--info"),
    *("--shell-completion", "--config-path", "--config-name", "--config-dir", "--experimental-rerun"),
)
"""Hydra's; a start of one stands for it."""
_PATHS = re.compile(
    r"(?P<key>\+{0,2}(data\.(raw|list)|paths\.\w+|init\.checkpoint|"
    r"job\.(run|source|predictions|references|settings|reuse|output|json|sweeps)))=(?P<value>.+)"
)
_LISTED = ("init.checkpoint", "job.")
"""Start of the keys of paths that a grid or a list can have several of, separated by commas."""
_OPTION_OF = {"data.convention": "labels", "data.layout": "data/layout", "job.convention": "job.prediction_labels"}


@hydra.main(version_base="1.3", config_path=str(resource_dir("conf")), config_name="config")
def application(cfg: DictConfig) -> float | None:
    """Check and execute one composed configuration, and return the score of a trained run (`objective`).

    That is Hydra's convention for sweepers. `main` exits with the recorded exit code.

    Raises:
        JobFailed: the exit code of a sweep's job is not 0.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from brats_ablate.errors import JobFailed
    from brats_ablate.jobs.execute import execute
    from brats_ablate.launch.sweep import score

    refusal = _without_effect()
    if refusal is not None:
        print(f"brats-ablate: {refusal}", file=sys.stderr)
    code = execute(cfg) if refusal is None else 2
    exit_code.record(code)
    if code == 0:
        return score(cfg)
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        raise JobFailed(code)
    return None


def main() -> None:
    """Run the application and exit with 0, with 2 for a configuration error, else with 1."""
    from brats_ablate.config.messages import format_error
    from brats_ablate.errors import UserError
    from brats_ablate.jobs import resolvers

    if os.name == "nt":
        sys.exit("brats-ablate: Windows has no locks of files as used here; use Linux, macOS, or WSL on Windows")
    exit_code.reset()
    resolvers.register()  # also for --cfg job --resolve, which runs no job
    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise its errors, so that they become one sentence
    if "--version" in sys.argv:
        print(_version())
        sys.exit()
    if (refusal := unknown_flag(sys.argv[1:])) is not None:
        print(f"brats-ablate: {refusal}", file=sys.stderr)
        sys.exit(2)
    sys.argv[1:] = flags_first(own_options(packaged_sweeps(open_keys(quoted_paths(current_keys(sys.argv[1:]))))))
    make_importable(folder for folder in (Path.cwd(), own_config_dir()) if folder is not None)
    try:
        _help() if {"--help", "-h"} & set(sys.argv) else application()
        sys.stdout.flush()
    except BrokenPipeError:  # what reads the output has ended, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        sys.exit("brats-ablate: interrupted; re-run the same command to resume")
    except UserError as error:
        print(f"brats-ablate: {error}", file=sys.stderr)
        exit_code.record(error.exit_code)
    except Exception as error:
        sentence = format_error(error)
        if sentence is None:
            raise
        print(f"brats-ablate: {sentence}", file=sys.stderr)
        sys.exit(2)
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

    import brats_ablate
    from brats_ablate.runs.provenance import code_version

    of_packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "monai", "hydra-core"))
    return f"brats-ablate {code_version(brats_ablate.__version__)} ({of_packages}, Python {python_version()})"


def unknown_flag(arguments: list[str]) -> str | None:
    """Return a sentence about an option that is written as a flag; None if there is none."""
    for argument in arguments:
        name = argument.partition("=")[0]
        if name.startswith("--") and not any(known.startswith(name) for known in _FLAGS):
            return f"{argument} is not a flag; write options without dashes, as {argument.lstrip('-')}"
    return None


def _without_effect() -> str | None:
    """Return a sentence if Hydra accepts the command line but ignores a part of it; else None."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra_cfg = HydraConfig.get()
    if hydra_cfg.mode != RunMode.RUN:
        return None
    for override in hydra_cfg.overrides.hydra:
        if override.startswith("hydra/launcher="):
            return f"{override} applies to sweeps only; add -m"
    task = list(hydra_cfg.overrides.task)
    if any(o.startswith("design=") and o != "design=none" for o in task):
        return "a design is a sweep over its combinations; add -m"
    if any(o.startswith("+experiment=[") for o in task) and not any(o.startswith("name=") for o in task):
        return (
            "+experiment=[…] merges experiments under the last one's name; set name=… for the merged one, "
            "or write +experiment=a,b -m to run each"
        )
    return None


def own_options(arguments: list[str]) -> list[str]:
    """Add `-cd conf` if the current directory has a folder conf of its own and no other folder is given."""
    own = Path("conf")
    if any(a.partition("=")[0] in ("-cd", "--config-dir") for a in arguments) or not own.is_dir():
        return arguments
    return arguments if own.resolve() == resource_dir("conf").resolve() else ["-cd", "conf", *arguments]


def current_keys(arguments: list[str]) -> list[str]:
    """Replace the keys of earlier versions by the keys and options that took their place, with a notice."""
    from brats_ablate.config.messages import MOVED_KEYS

    renamed = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        option = _OPTION_OF.get(key) if equals else None
        if option is not None:
            print(f"brats-ablate: {key} is an option now; reading {argument} as {option}={value}", file=sys.stderr)
            argument = f"{option}={value}"
        for before, now in _MOVED.items():
            if key.lstrip("+~").startswith(before):
                print(f"brats-ablate: {before}… is {now}… now; reading {argument} so", file=sys.stderr)
                argument = argument.replace(before, now, 1)
        if equals and (moved := MOVED_KEYS.get(key.lstrip("+~"))) is not None:
            print(f"brats-ablate: {key} is {moved} now; reading {argument} as {moved}={value}", file=sys.stderr)
            argument = f"{moved}={value}"
        renamed.append(argument)
    return renamed


def open_keys(arguments: list[str]) -> list[str]:
    """Let the command line add arguments to `model.network`, which has those of any class, without Hydra's +."""
    return [f"++{each}" if each.startswith(("model.network.", "model.network=")) else each for each in arguments]


def flags_first(arguments: list[str]) -> list[str]:
    """Move flags and their values to the front: Hydra's parser takes overrides on one side of them only."""
    flags: list[str] = []
    overrides: list[str] = []
    for previous, argument in zip(["", *arguments], arguments, strict=False):
        is_flag = argument.startswith("-") or previous in _FLAGS_WITH_VALUE
        (flags if is_flag else overrides).append(argument)
    return flags + overrides


def quoted_paths(arguments: list[str]) -> list[str]:
    """Expand ~ in paths, and quote those with characters that Hydra's grammar takes in quotes only, such as =."""
    return [_quoted(match) if (match := _PATHS.fullmatch(each)) else each for each in arguments]


def _quoted(match: re.Match[str]) -> str:
    key, value = match["key"], match["value"]
    is_list = key.startswith(_LISTED) and not re.search(r"\$\{[^}]*,", value)
    paths = value.split(",") if is_list else [value]
    return f"{key}={','.join(map(_quoted_path, paths))}"


def _quoted_path(path: str) -> str:
    if path[:1] in ("'", '"', "[", "{"):
        return path
    path = os.path.expanduser(path)
    if re.fullmatch(r"[\w/.+%*@?|:${}-]*", path, re.ASCII):
        return path
    return "'" + path.replace("'", "\\'") + "'"


def packaged_sweeps(arguments: list[str]) -> list[str]:
    """Replace `-cd sweeps` by the installed sweeps if the current directory has no such folder."""
    if os.path.isdir("sweeps"):
        return arguments
    installed = str(resource_dir("sweeps"))
    return [
        installed if value == "sweeps" and previous in ("-cd", "--config-dir") else value
        for previous, value in zip(["", *arguments], arguments, strict=False)
    ]


if __name__ == "__main__":
    main()
