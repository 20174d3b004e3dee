"""Check the run directories of an ensemble, which may be somebody else's, before anything of them is used."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from brats_ablate.config.trust import require_plain, require_trusted
from brats_ablate.inference.ensemble import EnsembleMember, check_configuration
from brats_ablate.labels.scheme import LabelScheme
from brats_ablate.runtime.files import readable

_BUILT_GROUPS = ("model", "inputs", "supervision", "encoder", "labels")
"""Groups of a run's configuration that its network is built from."""


def check_runs(members: Iterable[EnsembleMember], trusted: Collection[str]) -> None:
    """Check the configuration that each run recorded.

    Args:
        members: their runs.
        trusted: classes that the runs may name; see `config.trust`.

    Raises:
        ConfigError: a run names a class that is not trusted.
        RunFailed: a config.yaml is not what the run was trained with.
        Unreadable: a config.yaml is damaged.
    """
    for run in {str(member.run.path): member.run for member in members}.values():
        file, config = run.path / "config.yaml", run.config()
        require_plain(config, file)
        require_trusted({group: config[group] for group in _BUILT_GROUPS if group in config}, file, trusted)
        with readable(file):
            check_configuration(run)
            LabelScheme.of_run(config)
