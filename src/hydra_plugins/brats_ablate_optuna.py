"""The sweeper for Optuna: hydra-optuna-sweeper's, whose number of trials holds over all starts of a study.

hydra-optuna-sweeper runs `n_trials` more at each start, and leaves the trials of a stopped command running forever.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins._brats_ablate_trials import fixed_overrides

if TYPE_CHECKING:
    from optuna import Study

_REPEATED = "interrupted"
"""Attribute of a study: numbers of the trials whose run was not trained to its end, each repeated by a later one."""

_SETTINGS = "settings"
"""Attribute of a study: the objective, and the overrides that are the same in all trials."""
_NOT_COUNTED = ("job", "paths", "tracker", "trust")


class OptunaStudySweeper(Sweeper):
    """`hydra/sweeper=optuna_study`.

    Args:
        storage: URL of the study's database; None for a study that ends with the command.
        study_name: name in the database.
        n_trials: finished and failed trials, over all starts.
        n_jobs: trials at the same time.
        max_failure_rate: highest share of failed ones among them with which the search continues.
        params: search space, key to override.
        sampler: Optuna's sampler.
    """

    def __init__(
        self,
        storage: str | None,
        study_name: str | None,
        n_trials: int,
        n_jobs: int,
        max_failure_rate: float,
        params: DictConfig | None,
        sampler: Any = None,
    ) -> None:
        self.storage, self.study_name, self.n_trials = storage, study_name, n_trials
        self.settings = {"n_jobs": n_jobs, "max_failure_rate": max_failure_rate, "params": params, "sampler": sampler}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Create hydra-optuna-sweeper's sweeper and the launcher."""
        from brats_ablate.errors import ConfigError

        if find_spec("hydra_plugins.hydra_optuna_sweeper") is None:
            raise ConfigError("hydra/sweeper=optuna_study needs Optuna; run `pip install 'brats-ablate[optuna]'`")
        if self.storage is not None and self.study_name is None:
            raise ConfigError("hydra.sweeper.study_name is missing, by which a storage finds the study again; set it")
        from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl

        self.config = config
        self.searching = OptunaSweeperImpl(
            direction="maximize",
            storage=None,
            study_name=self.study_name or "study",
            n_trials=self.n_trials,
            search_space=None,
            custom_search_space=None,
            **self.settings,
        )
        self.searching.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> None:
        """Run what is left of the trials.

        Raises:
            ConfigError: another command runs the study, or the folder of the launch is not safe.
            RunFailed: more trials failed than `max_failure_rate` allows, or all did.
        """
        import optuna

        from brats_ablate.errors import RunFailed
        from brats_ablate.launch.submission import make_launch_folder

        assert self.config is not None
        optuna.logging.set_verbosity(logging.WARNING)
        make_launch_folder(Path(str(self.config.hydra.sweep.dir)).absolute())
        with self._only_command():
            self.searching.storage = _storage(self.storage)
            study = optuna.create_study(
                study_name=self.searching.study_name,
                storage=self.searching.storage,
                direction="maximize",
                load_if_exists=True,
            )
            self._check_same_study(study)
            _repeat_interrupted(study)
            ended = _ended_trials(study)
            if ended:
                self.searching.sampler.reseed_rng()  # the sampler's seed would draw the first trials again
            print(f"study {study.study_name}: {ended} of {self.n_trials} trials done", flush=True)
            self.searching.n_trials = max(0, self.n_trials - ended)
            complete = (optuna.trial.TrialState.COMPLETE,)
            try:
                if self.searching.n_trials:
                    self.searching.sweep(arguments)
            except ValueError:  # at its end, if there is no best trial
                if study.get_trials(states=complete) or _ended_trials(study) < self.n_trials:
                    raise
            if not study.get_trials(states=complete):
                raise RunFailed(f"every trial of study {study.study_name} failed; their messages are above")
            best = study.best_trial
            shown = " ".join(f"{key}={value}" for key, value in best.params.items())
            print(f"best of {_ended_trials(study)} trials: {self.config.objective} {best.value:.4f} with {shown}")

    def _check_same_study(self, study: Study) -> None:
        """Check that the scores in the storage are of the same objective and of the same settings of all trials."""
        from brats_ablate.errors import ConfigError
        from brats_ablate.runs.identity import EXECUTION_KEYS

        assert self.config is not None
        fixed = fixed_overrides(self.config, OverridesParser.create())
        counted = {k: v for k, v in fixed.items() if k not in EXECUTION_KEYS and k.split(".")[0] not in _NOT_COUNTED}
        settings = {**counted, "objective": str(self.config.objective)}
        before = study.user_attrs.get(_SETTINGS, settings)
        if different := sorted(key for key in before.keys() | settings if before.get(key) != settings.get(key)):
            key = different[0]
            old, new = (values.get(key, "unset") for values in (before, settings))
            raise ConfigError(
                f"study {study.study_name} was started with {key}={old}, not {new}; "
                "give this one its own hydra.sweeper.study_name"
            )
        study.set_user_attr(_SETTINGS, settings)

    @contextmanager
    def _only_command(self) -> Iterator[None]:
        """Lock the study: what another command is training would look interrupted, and be trained again."""
        from brats_ablate.errors import ConfigError
        from brats_ablate.runtime.locks import lock_file, try_lock

        if self.storage is None:
            yield
            return
        assert self.config is not None
        name = re.sub(r"[^\w.-]", "_", str(self.study_name))
        folder = Path(str(self.config.paths.work))
        folder.mkdir(parents=True, exist_ok=True)
        with lock_file(folder / f".{name}.study.lock") as stream:
            if not try_lock(stream):
                raise ConfigError(
                    f"study {self.study_name} is run by another command; wait for its end, or raise its n_jobs"
                )
            yield


def _storage(url: str | None) -> Any:
    """Open a study's database.

    Raises:
        ConfigError: it cannot be opened.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    from brats_ablate.errors import ConfigError
    from brats_ablate.runtime.text import first_line

    try:
        return optuna.storages.get_storage(url)
    except (SQLAlchemyError, ValueError, ImportError) as error:
        raise ConfigError(
            f"hydra.sweeper.storage={url} cannot be opened ({first_line(error)}); give a URL such as sqlite:///optuna.db"
        ) from None


def _repeat_interrupted(study: Study) -> None:
    """Queue the trials again that an earlier command left running."""
    from optuna.exceptions import ExperimentalWarning
    from optuna.trial import TrialState

    repeated = list(study.user_attrs.get(_REPEATED, []))
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        if trial.params:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)  # of a pinned version, so it stays as it is
                study.enqueue_trial(trial.params)
        repeated.append(trial.number)
        study.set_user_attr(_REPEATED, repeated)
        study.tell(trial.number, state=TrialState.FAIL)


def _ended_trials(study: Study) -> int:
    """Return the number of finished and failed trials, without those that others repeat."""
    from optuna.trial import TrialState

    ended = study.get_trials(states=(TrialState.COMPLETE, TrialState.FAIL))
    repeated = study.user_attrs.get(_REPEATED, [])
    return sum(trial.number not in repeated for trial in ended)
