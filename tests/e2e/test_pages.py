"""Every command of the pages about training, sweeps and scores runs, in its order, on a small cohort."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import documents
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scaffolding import CommandLine

from brats_ablate.runs.directory import find_runs

pytestmark = pytest.mark.slow(minutes=2)
SHORTER = {
    "data=brats21": "data=phantom",
    "data.raw=/data/BraTS2021": "data=phantom",  # the phantom writes its own files
    "data=brats_ped": "data.name=ped",
    "work/brats21": "work/phantom",
    "fold=0,1,2,3,4": "fold=0,1",
    "trainer=cpu": "seed=0",  # the small cohort's own, with its number of epochs
    "trainer=demo": "seed=0",
    "validation=scheduled": "validation=every_epoch",  # as that of the study
    "n_trials=30": "n_trials=2",
    "deeper.encoder=depth7": "residual.model=residual",  # the small patches have no seven levels
}
"""What the small cohort cannot do → what is run instead."""


@pytest.fixture(name="study", scope="module")
def _study(tmp_path_factory: pytest.TempPathFactory, small: tuple[str, ...]) -> CommandLine:
    """A study with two folds of three experiments."""
    folder = tmp_path_factory.mktemp("study")
    study = CommandLine(
        folder, [*small, "data.n_folds=2", "trainer.epochs=1", "lr=7e-4"], {"BRATS_ABLATE_WORK": "work"}
    )
    ran(study, ["job=prepare"])
    ran(study, ["+experiment=baseline,ds,ds_deeper_channels_onehot", "fold=0,1", "-m"])
    return study


def ran(study: CommandLine, arguments: Sequence[str]) -> str:
    done = study.run(*documents.in_one_process(arguments))
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}"
    return done.stdout


def commands(page: str, study: CommandLine, **replaced: str) -> Iterator[list[str]]:
    """Yield the commands of a page; of sweeps on a cluster the plan alone, which measures no network."""

    def shorter(argument: str) -> str:
        for text, other in (*SHORTER.items(), *replaced.items()):
            argument = argument.replace(text, other)
        return argument

    for line in documents.commands(f"docs/{page}.md", study.folder):
        sweep = ["hydra.sweeper.n_trials=2" if "optuna" in line else "fold=0,1"] if "-cn" in line else []
        on_a_cluster = ["paths.runs=planned", "job=plan"] if any("slurm" in each for each in line) else []
        plan = ["job.dry_run=false"] if "job=plan" in [*line, *on_a_cluster] else []
        yield [*map(shorter, line), *sweep, *on_a_cluster, *plan]


def write_as_msd(predictions: Path, folder: Path) -> None:
    """Write label files of BraTS in the values of the Medical Segmentation Decathlon."""
    folder.mkdir()
    values = np.array([0, 2, 1, 0, 3], np.uint8)
    for file in predictions.glob("*.nii.gz"):
        image = nib.load(file)
        nib.save(nib.Nifti1Image(values[np.asarray(image.dataobj)], image.affine), folder / file.name)


def scores(study: CommandLine, name: str) -> pd.DataFrame:
    table = pd.read_csv(study.folder / f"work/phantom/evaluation/{name}.csv")
    return table.sort_values(["case", "region", "metric"])[["case", "region", "metric", "value"]].reset_index(drop=True)


@pytest.mark.parametrize(
    ("page", "name", "count"), [("results", "ds_deeper_onehot", 12), ("scoring", "ds_deeper_channels_onehot", 12)]
)
def test_pages_about_scores(study: CommandLine, tmp_path: Path, page: str, name: str, count: int) -> None:
    folders = {"/data/theirs": str(tmp_path / "theirs"), "/data/new": "work/phantom/raw"}
    lines = list(commands(page, study, **folders))
    assert len(lines) == count
    for line in lines:
        if "job.name=theirs" in line:
            write_as_msd(study.folder / f"work/phantom/predictions/{name}", tmp_path / "theirs")
        printed = ran(study, line)
    assert "theirs" in printed
    pd.testing.assert_frame_equal(scores(study, "theirs"), scores(study, name))
    for file in ("theirs.csv", "theirs.json"):  # of the next page
        (study.folder / "work/phantom/evaluation" / file).unlink(missing_ok=True)


def test_the_page_about_designs(study: CommandLine) -> None:
    grid, design, plan, again = (ran(study, line) for line in commands("designs", study))
    table = grid.partition("Variants of default")[2]
    scores_of_variants = set(re.findall(r"0\.\d{4}", table))
    assert len(scores_of_variants) >= 4
    assert scores_of_variants <= set(re.findall(r"0\.\d{4}", again))
    assert "leave one out" in design
    assert "16 runs" in plan


def test_the_page_about_fine_tuning(study: CommandLine) -> None:
    ran(study, ["data.name=ped", "data.phantom.seed=5", "job=prepare"])
    pretrained, *others = commands("fine_tuning", study)
    assert "tensors" in ran(study, [*pretrained, "data.phantom.seed=5"])
    for line in others:
        ran(study, line)
    names = {run.coordinates.name for run in find_runs(study.folder / "work/phantom/runs")}
    assert {"onehot_from_ds", "ds_data.fraction-0.1", "ds_data.fraction-0.5", "ds_tenth", "ds_quarter"} <= names
    assert [run.coordinates.name for run in find_runs(study.folder / "work/ped/runs")] == ["ds_pretrained"] * 2


def test_the_page_about_searches(study: CommandLine) -> None:
    pytest.importorskip("optuna", reason="hydra-optuna-sweeper is not installed (pip install 'brats-ablate[optuna]')")
    searched = ("lr=", "encoder.width=")
    search = replace(study, arguments=[each for each in study.arguments if not each.startswith(searched)])
    lines = list(commands("search", study))
    for line in lines:
        ran(search, line)
    assert "study search: 2 of 2 trials done" in ran(search, lines[-1])


def test_can_it_be_learned(study: CommandLine) -> None:
    debug, profile = commands("troubleshooting", study)
    assert "the loss on one batch fell from" in ran(study, [*debug, "trainer.epochs=10", "lr=1e-2"])
    assert "profile" in ran(study, [*profile, "name=profiled"])


@pytest.mark.parametrize("page", ["index", "security", "statistics", "cost", "cluster"])
def test_other_pages(study: CommandLine, page: str) -> None:
    lines = list(commands(page, study))
    assert lines
    for line in lines:
        ran(study, line)
