"""Compiled networks: what they share with the plain one, and when they give way to it.

Fast tests replace Inductor with a backend that executes the traced graph as it is.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.backends.common import aot_autograd

from brats_ablate.errors import ConfigError
from brats_ablate.models import compilation
from brats_ablate.models.base import SegmentationOutput
from brats_ablate.models.compilation import CompiledNetwork
from brats_ablate.models.dropblock import DropBlock3d
from brats_ablate.training.determinism import deterministic_algorithms

X = torch.randn(2, 4, 6, 6, 6, generator=torch.Generator().manual_seed(0))
HINT = "set trainer.compile=false to omit the attempt"


class Network(nn.Module):
    """A convolution with a running state, DropBlock and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv3d(4, 8, 3, padding=1), nn.BatchNorm3d(8)
        self.drop, self.dropout = DropBlock3d(2, 0.3, 0), nn.Dropout(0.3)

    def forward(self, x: Tensor) -> SegmentationOutput:
        return SegmentationOutput([self.dropout(self.drop(self.norm(self.conv(x))))], {})


def network(seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return Network()


def output(network: Callable[[Tensor], SegmentationOutput], x: Tensor = X, seed: int = 1) -> Tensor:
    torch.manual_seed(seed)
    return network(x).logits[0]


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def compiled_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """`compiled_with(backend)` replaces Inductor."""
    compile_by_torch = torch.compile

    def replace(backend: Any) -> None:
        def compile_by_backend(network: nn.Module, *, dynamic: bool, options: dict[str, bool]) -> Any:
            return compile_by_torch(network, dynamic=dynamic, backend=backend)

        monkeypatch.setattr(torch, "compile", compile_by_backend)

    return replace


@pytest.mark.parametrize("enabled", [True, False])
def test_no_kernel_is_chosen_by_its_time_in_a_deterministic_run(monkeypatch: pytest.MonkeyPatch, enabled: bool) -> None:
    chosen = []
    monkeypatch.setattr(torch, "compile", lambda network, *, dynamic, options: chosen.append(options))
    with deterministic_algorithms(enabled):
        CompiledNetwork(nn.Identity())
    has_option = "deterministic" in torch._inductor.list_options()
    assert chosen == [{"fallback_random": True} | ({"deterministic": True} if enabled and has_option else {})]


class Counting:
    """A backend that executes graphs as they are and counts them."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        self.graphs += 1
        return graph


def without_compiler(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
    raise RuntimeError("Failed to find C compiler.\nPlease specify one.")


def test_without_a_compiler_the_plain_network_runs_and_one_sentence_says_why(
    compiled_with: Callable[[Any], None], capsys: pytest.CaptureFixture[str]
) -> None:
    compiled_with(without_compiler)
    plain = network()
    compiled = CompiledNetwork(plain)
    assert compiled.is_compiled
    results = [output(compiled), output(compiled)]
    assert not compiled.is_compiled
    assert all(torch.equal(result, output(plain)) for result in results)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        "brats-ablate: the network cannot be compiled (RuntimeError: Failed to find C compiler.) and is executed as "
        f"it is, which is slower on a GPU; {HINT}\n"
    )


def test_gradients_that_cannot_be_compiled_are_computed_by_the_plain_network(
    compiled_with: Callable[[Any], None], capsys: pytest.CaptureFixture[str]
) -> None:
    compiled_with(aot_autograd(fw_compiler=lambda graph, inputs: graph, bw_compiler=without_compiler))
    plain, twin = network(), network()
    compiled = CompiledNetwork(plain)
    output(compiled).square().mean().backward()
    output(twin).square().mean().backward()
    assert not compiled.is_compiled
    assert torch.equal(plain.conv.weight.grad, twin.conv.weight.grad)
    assert "cannot be compiled (RuntimeError: Failed to find C compiler.)" in capsys.readouterr().err


class Untraceable(Network):
    def forward(self, x: Tensor) -> SegmentationOutput:
        torch._dynamo.graph_break()
        return super().forward(x)


def test_what_cannot_be_traced_is_executed_as_it_is(compiled_with: Callable[[Any], None]) -> None:
    counting = Counting()
    compiled_with(counting)
    torch.manual_seed(0)
    plain = Untraceable()
    compiled = CompiledNetwork(plain)
    assert torch.equal(output(compiled), output(plain))
    assert counting.graphs == 1  # what follows the break is compiled


class Raises(Network):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: Tensor) -> SegmentationOutput:
        if x.shape[-1] == 6:
            raise self.error
        return super().forward(x)


@pytest.mark.parametrize(
    ("wrong", "x"),
    [
        (lambda: Raises(ConfigError("patches.shape=[6,6,6] is too small")), X),
        (network, X[:, :3]),
        (network, X.double()),
    ],
    ids=["of the network's own", "channels", "dtype"],
)
def test_an_error_of_the_network_itself_is_raised_as_the_plain_one_raises_it(
    wrong: Callable[[], nn.Module],
    x: Tensor,
    compiled_with: Callable[[Any], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    compiled_with(Counting())
    plain = wrong()
    with pytest.raises(Exception) as expected:  # noqa: PT011  # of any type: the next one must be of the same
        plain(x)
    with pytest.raises(type(expected.value)) as raised:
        CompiledNetwork(plain)(x)
    assert type(raised.value) is type(expected.value)
    assert str(raised.value) == str(expected.value)
    assert capsys.readouterr().err == ""  # it is not compilation that fails


def test_weights_buffers_and_mode_are_those_of_the_network(compiled_with: Callable[[Any], None]) -> None:
    compiled_with(Counting())
    plain, twin = network(), network()
    compiled = CompiledNetwork(plain)
    output(compiled).square().mean().backward()
    output(twin).square().mean().backward()
    for one, other in zip(plain.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    state, of_twin = plain.state_dict(), twin.state_dict()
    assert list(state) == list(of_twin)
    assert all(torch.equal(state[name], of_twin[name]) for name in state)
    with torch.no_grad():
        plain.conv.weight.mul_(2)
    plain.eval()
    assert torch.equal(output(compiled), output(plain))
    assert compiled.is_compiled


def test_ten_networks_of_one_structure_are_compiled_once(compiled_with: Callable[[Any], None]) -> None:
    counting = Counting()
    compiled_with(counting)
    networks = [network(seed).eval() for seed in range(10)]
    for plain in networks:
        assert torch.equal(output(CompiledNetwork(plain)), output(plain))
    assert counting.graphs == 1


class Wide(nn.Module):
    """An architecture for each number of channels; all share the code of `forward`, as all U-Nets do."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(4, channels, 1)

    def forward(self, x: Tensor) -> SegmentationOutput:
        return SegmentationOutput([self.conv(x)], {})


def test_ten_architectures_are_compiled_for_training_and_validation(
    compiled_with: Callable[[Any], None], capsys: pytest.CaptureFixture[str]
) -> None:
    counting = Counting()
    compiled_with(counting)
    networks = [CompiledNetwork(Wide(channels)) for channels in range(1, 11)]

    def train_and_validate() -> None:
        for compiled in networks:
            output(compiled)
            with torch.inference_mode():
                output(compiled)

    thread = Thread(target=train_and_validate)  # torch's settings are those of a thread
    thread.start()
    thread.join()
    assert counting.graphs == 20
    assert capsys.readouterr().err == ""


class Recompiling(Wide):
    """A network whose `forward` reads a number that is another one each time."""

    calls = 0

    def forward(self, x: Tensor) -> SegmentationOutput:
        self.calls += 1
        return super().forward(x * self.calls)


def test_a_network_that_is_compiled_at_each_call_is_executed_as_it_is_and_one_sentence_says_why(
    compiled_with: Callable[[Any], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compilation, "MOST_GRAPHS", 9)
    compiled_with(Counting())
    compiled = CompiledNetwork(Recompiling(2))
    for _ in range(12):
        output(compiled)
    assert not compiled.is_compiled
    assert len(re.findall(r"cannot be compiled \(.*recompile.limit", capsys.readouterr().err)) == 1


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_random_numbers_of_compiled_layers_are_those_of_the_plain_ones() -> None:
    plain, twin = network(), network()
    compiled = CompiledNetwork(plain)
    results, expected = [output(compiled, seed=s) for s in (1, 2)], [output(twin, seed=s) for s in (1, 2)]
    assert compiled.is_compiled
    for result, other in zip(results, expected, strict=True):
        assert torch.equal(result == 0, other == 0)
        torch.testing.assert_close(result, other)
    assert not torch.equal(results[0] == 0, results[1] == 0)
