from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException, HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from brats_ablate.config.locations import resource_dir
from brats_ablate.config.messages import format_error


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["+experiment=dss"], "experiment=dss is not an option; did you mean ds?"),
        (["experiment=ds"], "experiments are added, not overridden: use +experiment=ds"),
        (["model=unett"], "model=unett is not an option; did you mean unet?"),
        (["supervision=x"], "supervision=x is not an option; choose one of deep, deep_as_released, none"),
        (["hydra/launcher=slrm"], "hydra/launcher=slrm is not an option; did you mean slurm?"),
        (["hydra/lancher=slurm"], "hydra/lancher is not a known group; did you mean hydra/launcher?"),
        (["model@x=unet"], "model@x is not in the defaults; use +model@x=unet to add it"),
        (["modl=unet"], "modl is not a known key; did you mean model?"),
        (["trainer.epocs=3"], "trainer.epocs is not a known key; did you mean trainer.epochs?"),
        (["trainer.validate_every=5"], "trainer.validate_every is validation.every now; use validation.every=5"),
        (["job.checkpoint=2"], "job.checkpoint is not a known key; did you mean job.checkpoints?"),
        (["job.checkpoints=2"], "job.checkpoints is a key of job=predict only; choose it too"),
        (["tracker.project=x"], "tracker.project is a key of tracker=wandb only; choose it too"),
        (
            ["hydra.launcher.gpus=2"],
            "hydra.launcher.gpus is not a setting of a launcher; choose one of account, additional_parameters, ",
        ),
        (["qqqqqqqq=3"], "qqqqqqqq is not a known key; `--cfg job` shows every key"),
        (["+experiment"], "+experiment has no value; write +experiment=<value>"),
        (["about.question=[a=b]"], "about.question=[a=b] cannot be parsed; put elements with = in quotes"),
        (["patches.shape=[1,2"], "patches.shape=[1,2 cannot be parsed; write key=value, lists in brackets"),
        (
            ["loss={_target_: mine.Loss, alpha: 1}"],
            "loss={…} has keys that the chosen option of loss, into which it is mer",
        ),
        (["loss=null"], "loss=null is not an option; choose one, such as loss=bce_dice (`--help` lists them)"),
        (["augment=null"], "augment=null is not an option; choose one, such as augment=none (`--help` lists them)"),
        (["model=3"], "model=3 is not an option; choose one, such as model=attention (`--help` lists them)"),
        (["+experiment=null"], "experiment=null is not an option; choose one, such as experiment=as_released (`"),
        (["hydra/launcher=null"], "hydra/launcher=null is not an option; choose one, such as hydra/launcher="),
        (["+experiment=ds", "+experiment=focal"], "experiment is given twice; give it once, or experiment=a,b and -m"),
    ],
)
def test_a_composition_error_is_one_sentence(overrides: list[str], sentence: str) -> None:
    with (
        pytest.raises((HydraException, ValueError)) as raised,
        initialize_config_dir(str(resource_dir("conf")), version_base="1.3"),
    ):
        compose("config", overrides)
    message = format_error(raised.value)
    assert sentence in message
    assert "\n" not in message


def test_an_error_that_is_not_known_keeps_its_text_on_one_line() -> None:
    text = "first\n  second\nSet the environment variable HYDRA_FULL_ERROR=1 for a complete stack trace."
    assert format_error(ConfigCompositionException(text)) == "first second"


def test_another_error_is_not_formatted() -> None:
    assert format_error(KeyError("bug")) is None


def test_the_cause_of_a_wrapped_error_is_formatted() -> None:
    wrapper = RuntimeError("wrapped")
    wrapper.__cause__ = HydraException("inner")
    assert format_error(wrapper) == "inner"


@pytest.mark.parametrize(
    ("launcher", "sentence"),
    [
        (
            "slurm",
            "hydra.launcher.max_parallel is a setting of hydra/launcher=local_gpus or hydra/launcher=submitit_lo",
        ),
        ("serial", "hydra.launcher has settings, but the chosen launcher has none; choose theirs: hydra/launcher="),
    ],
)
def test_a_setting_of_another_launcher_in_a_file_is_one_sentence(launcher: str, sentence: str) -> None:
    file = OmegaConf.load(resource_dir("conf") / "hydra" / "launcher" / f"{launcher}.yaml")
    with pytest.raises(InstantiationException) as raised:
        instantiate(OmegaConf.merge(file, {"max_parallel": 2}))
    message = format_error(raised.value)
    assert message.startswith(sentence)
