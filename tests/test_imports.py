"""What is quick imports nothing that takes long, and importing the package runs nothing of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

COMPOSED = """
from hydra import compose, initialize_config_dir
from brats_ablate.config.check import check
from brats_ablate.config.locations import resource_dir
with initialize_config_dir(str(resource_dir("conf")), version_base="1.3"):
    check(compose("config", ["+experiment=ds_deeper_onehot", "tracker=wandb", "job=predict"]))
"""
SIGNATURES = """
from brats_ablate.config.signatures import signature_of
signature_of("brats_ablate.models.unet.UNet"), signature_of("torch.optim.Adam")
"""
TRUST = "from brats_ablate.config.trust import is_own_class; is_own_class('brats_ablate.models.unet.UNet')"
HEAVY = ("torch", "monai", "wandb", "pandas", "scipy")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "absent"),
    [
        pytest.param("import brats_ablate", ("brats_ablate.", "hydra", "numpy", *HEAVY), id="package"),
        pytest.param(COMPOSED, HEAVY, id="check"),
        pytest.param(SIGNATURES, ("torch", "brats_ablate.models"), id="signatures"),
        pytest.param(TRUST, ("torch", "brats_ablate.models"), id="trust"),
        pytest.param(
            "import brats_ablate.jobs.sweep.status, brats_ablate.jobs.sweep.plan",
            ("numpy", "submitit", *HEAVY),
            id="jobs",
        ),
    ],
)
def test_nothing_heavy_is_imported(program: str, absent: tuple[str, ...]) -> None:
    printed = f"{program}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", printed], capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    assert "brats_ablate" in modules
    assert not [name for name in modules if name.startswith(absent)]
