"""What a starting run records in its manifest, and the graphs that it compiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch.utils.flop_counter import FlopCounterMode

from brats_ablate.config.check import resolve
from brats_ablate.errors import ConfigError
from brats_ablate.jobs.build import build_model
from brats_ablate.jobs.train import setup
from brats_ablate.jobs.train.setup import build_trainer
from brats_ablate.launch.sweep import run_directory
from brats_ablate.runs.identity import identity
from brats_ablate.training.distributed import DistributedContext


def manifest_of(cfg: DictConfig) -> dict[str, Any]:
    directory = run_directory(cfg)
    directory.path.mkdir(parents=True, exist_ok=True)
    with build_trainer(cfg, directory, torch.device("cpu"), DistributedContext()):
        return directory.manifest()


@pytest.mark.parametrize("experiment", ["baseline", "ds_onehot"])
def test_the_arithmetic_of_one_patch_is_that_of_a_real_forward(
    experiment: str, composed: Callable[..., DictConfig]
) -> None:
    cfg = composed(f"+experiment={experiment}")
    manifest = manifest_of(cfg)
    channels = 5 if experiment == "ds_onehot" else 4
    with FlopCounterMode(display=False) as counter:
        build_model(cfg)(torch.zeros((1, channels, *cfg.patches.shape)))
    assert manifest["gflops"] == pytest.approx(counter.get_total_flops() / 1e9)
    assert manifest["identity"] == identity(resolve(cfg))


def test_it_is_counted_once_and_added_to_an_older_record(composed: Callable[..., DictConfig]) -> None:
    cfg = composed("+experiment=baseline")
    first = manifest_of(cfg)
    directory = run_directory(cfg)
    directory.write_manifest({**first, "gflops": 7.0})
    assert manifest_of(cfg)["gflops"] == 7.0
    directory.write_manifest({key: value for key, value in first.items() if key != "gflops"})
    assert manifest_of(cfg)["gflops"] == first["gflops"]


@pytest.mark.parametrize("is_resumed", [False, True])
def test_a_resumed_run_records_the_versions_of_all_its_starts(
    composed: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch, is_resumed: bool
) -> None:
    cfg = composed("+experiment=baseline")
    manifests = []
    for number in (1, 2, 2):
        monkeypatch.setattr(setup, "code_version", lambda number=number: f"0.{number}")
        monkeypatch.setattr(setup, "version", lambda name, number=number: f"{name} {number}")
        manifests.append(manifest_of(cfg))
        if is_resumed:
            run_directory(cfg).last_checkpoint.touch()
    assert manifests[0]["code_version"] == "0.1"
    for manifest in manifests[1:]:
        assert manifest["code_version"] == ("0.1; 0.2" if is_resumed else "0.2")
        assert manifest["packages"]["torch"] == ("torch 1; torch 2" if is_resumed else "torch 2")


def test_a_network_that_cannot_be_counted_is_trained_all_the_same(
    composed: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    from brats_ablate.models.unet import UNet

    real = UNet.forward

    def reads_a_number(self: UNet, x: torch.Tensor) -> object:
        assert float(x.sum()) > -1e9
        return real(self, x)

    monkeypatch.setattr(UNet, "forward", reads_a_number)
    assert manifest_of(composed("+experiment=baseline"))["gflops"] is None


@pytest.mark.slow
def test_a_run_compiles_the_same_graphs_wherever_it_stands_in_a_sweep(
    composed: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_by_torch, graphs = torch.compile, []

    def recorded(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> torch.fx.GraphModule:
        graphs.append(graph.code)
        return graph

    def compile_by_backend(network: torch.nn.Module, **options: Any) -> Any:
        return compile_by_torch(network, dynamic=False, backend=recorded)

    monkeypatch.setattr(torch, "compile", compile_by_backend)
    cfg = composed("+experiment=baseline", "trainer.compile=true")
    directory = run_directory(cfg)
    directory.path.mkdir(parents=True)
    for _ in range(2):
        with build_trainer(cfg, directory, torch.device("cpu"), DistributedContext()) as trainer:
            trainer.network(torch.zeros((1, 4, *cfg.patches.shape)))
    assert len(graphs) > 0
    assert graphs[: len(graphs) // 2] == graphs[len(graphs) // 2 :]
    torch.compiler.reset()


@pytest.mark.parametrize(
    "wrong", ["augment.transforms.zoom.p=2", "optimizer.weight_decay=-1", "inference.window.overlap=2"]
)
def test_a_run_that_rejects_its_arguments_leaves_no_record(composed: Callable[..., DictConfig], wrong: str) -> None:
    cfg = composed("+experiment=baseline", wrong)
    with pytest.raises(ConfigError, match=r"augment|optimizer|overlap"):
        manifest_of(cfg)
    assert run_directory(cfg).manifest() == {}, "or the corrected command would be refused"


def test_fewer_processes_than_the_identity_records_are_refused(composed: Callable[..., DictConfig]) -> None:
    cfg = composed("+experiment=baseline", "trainer.ranks=2", "trainer.devices=2")
    with pytest.raises(AssertionError, match="1 processes under the identity of 2"):
        manifest_of(cfg)
    assert run_directory(cfg).manifest() == {}
