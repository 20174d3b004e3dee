"""What a trial without data finds out about a network, compared with what is known of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from monai.networks import nets
from torch import Tensor, nn

from brats_ablate.errors import ConfigError
from brats_ablate.models.base import SegmentationOutput
from brats_ablate.models.trial import Shape, Task, Trial, logits_of, try_network

PATCH = (16, 32, 48)


class Strided(nn.Module):
    """Coarser by `stride`, then finer again; on request with a lower head."""

    def __init__(self, stride: tuple[int, int, int], channels: int = 3, lower: bool = False) -> None:
        super().__init__()
        self.down = nn.Conv3d(4, 2, stride, stride)
        self.up = nn.ConvTranspose3d(2, channels, stride, stride)
        self.head = nn.Conv3d(2, channels, 1) if lower else None

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        coarse = self.down(x)
        return self.up(coarse) if self.head is None else [self.up(coarse), self.head(coarse)]


class Returning(nn.Module):
    """Returns a function of a convolution of its input."""

    def __init__(self, change: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.conv, self.change = nn.Conv3d(4, 3, 1), change

    def forward(self, x: Tensor) -> object:
        return self.change(self.conv(x))


class ReadsValues(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :3] * x.max().item()


def trial(
    network: Callable[[], nn.Module], n_heads: int = 1, patch: Shape = PATCH, divisor: Shape | None = None
) -> Trial:
    return try_network(network, Task("Net", 4, 3, n_heads, patch), divisor)


def dynunet(*strides: int | list[int]) -> Callable[[], nn.Module]:
    options = {"kernel_size": [3] * len(strides), "strides": strides, "upsample_kernel_size": strides[1:]}
    return partial(nets.DynUNet, 3, 4, 3, filters=[4] * len(strides), **options)


@pytest.mark.parametrize(
    ("network", "patch", "divisor"),
    [
        (partial(nets.UNet, 3, 4, 3, (4, 4, 4), (2, 2)), PATCH, (4, 4, 4)),
        (partial(nets.UNet, 3, 4, 3, (4, 4), ((1, 2, 3),)), PATCH, (1, 2, 3)),
        (partial(nets.BasicUNet, 3, 4, 3, (4, 4, 4, 4, 4, 4)), (32, 32, 48), (1, 1, 1)),  # it pads
        pytest.param(
            partial(nets.SegResNet, init_filters=8, in_channels=4, out_channels=3),
            PATCH,
            (8, 8, 8),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            partial(nets.MedNeXt, init_filters=4, in_channels=4, out_channels=3),
            (16, 16, 32),
            (16, 16, 16),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            partial(nets.SwinUNETR, 4, 3, feature_size=12), (32, 32, 64), (32, 32, 32), marks=pytest.mark.slow
        ),
        (dynunet(1, [2, 2, 1], [2, 2, 2]), PATCH, (4, 4, 2)),
        (dynunet(1, 2, 2, 2, 2), (16, 16, 32), (16, 16, 16)),  # two voxels are left for instance norm
        (partial(Strided, (2, 1, 3)), PATCH, (2, 1, 3)),
    ],
    ids=["unet", "unet-uneven", "basic", "segresnet", "mednext", "swin", "dynunet-uneven", "dynunet-deep", "strided"],
)
def test_the_divisor_is_the_known_one(network: Callable[[], nn.Module], patch: Shape, divisor: Shape) -> None:
    assert trial(network, patch=patch) == Trial(divisor, fixed_shape=False, without_gradient=frozenset())


@pytest.mark.slow
def test_a_network_of_one_shape_is_recognized() -> None:
    small = {"feature_size": 4, "hidden_size": 8, "mlp_dim": 8, "num_heads": 2}
    found = trial(partial(nets.UNETR, 4, 3, (16, 16, 32), **small), patch=(16, 16, 32))
    assert (found.fixed_shape, found.size_divisor) == (True, (16, 16, 32))
    # MONAI's blocks have a norm for a cross-attention that this network has not.
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in found.without_gradient} == {"norm_cross_attn"}


def test_parameters_that_no_supervised_head_reaches_are_named() -> None:
    network = partial(Strided, (2, 2, 2), lower=True)
    assert trial(network, n_heads=2).without_gradient == frozenset()
    assert trial(network, n_heads=1).without_gradient == {"head.weight", "head.bias"}


@pytest.mark.slow
def test_a_trial_draws_no_random_numbers_and_is_made_once() -> None:
    made = []

    def count(x: Tensor) -> Tensor:
        made.append(x.device.type)
        return x

    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    trial(partial(nets.SwinUNETR, 4, 3, feature_size=12), patch=(64, 32, 32))  # its constructor needs the CPU
    trial(partial(Returning, count))
    assert torch.equal(torch.rand(3), expected)
    assert set(made) == {"meta"}
    network, task = partial(Strided, (2, 2, 2)), Task("Net", 4, 3, 1, (4, 4, 4))
    assert try_network(network, task) is try_network(partial(Strided, (2, 2, 2)), task)
    assert try_network(partial(Strided, (4, 2, 2)), task) is not try_network(network, task)


def test_outputs_become_heads() -> None:
    fine, coarse = torch.rand(2, 3, 4, 4, 6), torch.rand(2, 3, 2, 2, 3)

    def heads(output: object) -> list[Tensor]:
        return logits_of(output, "Net").logits

    assert heads(fine) == [fine]
    assert heads((fine, coarse)) == heads([fine, coarse]) == heads({"out": [fine, coarse]}) == [fine, coarse]
    assert heads({"out": fine, "aux": coarse}) == [fine]
    stacked = heads(torch.stack([fine, 2 * fine], dim=1))
    assert torch.equal(stacked[0], fine)
    assert torch.equal(stacked[1], 2 * fine)
    own = SegmentationOutput([fine], {"more": coarse})
    assert logits_of(own, "Net") is own


MISFITS: list[tuple[Callable[[], nn.Module], int, str]] = [
    (partial(Strided, (2, 2, 2), 4), 1, "model: Net returns 4 channels for 3 regions; set its argument for output"),
    (
        partial(Returning, lambda y: y[..., ::2]),
        1,
        "model: Net returns [1, 3, 16, 32, 24] for a patch of [16, 32, 48] voxels",
    ),
    (partial(Returning, lambda y: y.mean()), 1, "model: Net returns [] for a patch of [16, 32, 48] voxels"),
    (
        partial(Returning, lambda y: [y[..., ::2], y]),
        2,
        "in place of logits (B, K, X, Y, Z) of that size, finest first; change patches.shape, or",
    ),
    (partial(Returning, lambda y: [y, y[..., :5]]), 2, "model: Net returns head 2 of shape [1, 3, 16, 32, 5]"),
    (partial(Returning, lambda y: (y, y.mean())), 2, "model: Net returns head 2 of shape []; a lower head has 3"),
    (partial(Returning, lambda y: {"a": y, "b": y}), 1, "model: Net returns dict with a, b; it must return logits"),
    (partial(Returning, lambda y: None), 1, "model: Net returns NoneType; it must return logits (B, K, X, Y, Z)"),
    (partial(Strided, (2, 2, 2)), 3, "model: Net returns 1 head(s) in training, but supervision has weights for 3"),
    (partial(Strided, (2, 2)), 1, "model: Net does not take 4 channels of patches.shape=[16, 32, 48] ("),
    (partial(nn.Conv3d, 5, 3, 1), 1, "model: Net does not take 4 channels of patches.shape=[16, 32, 48] ("),
    (partial(nets.SwinUNETR, 4, 3, feature_size=12), 1, "; it takes patches.shape=[32,32,64]"),
    (partial(Strided, (2, 2, 2), depth=2), 1, "unexpected keyword argument 'depth'); correct its arguments"),
    (lambda: 3, 1, "model: Net constructs a int, not a torch.nn.Module"),
    (ReadsValues, 1, "set model.size_divisor=[x,y,z], what each axis of its input must be divisible by"),
]


@pytest.mark.parametrize(("network", "n_heads", "sentence"), MISFITS, ids=[s for _, _, s in MISFITS])
def test_what_does_not_fit_is_one_sentence(network: Callable[[], nn.Module], n_heads: int, sentence: str) -> None:
    with pytest.raises(ConfigError) as raised:
        trial(network, n_heads)
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_network_that_reads_values_needs_its_divisor() -> None:
    assert trial(ReadsValues, divisor=(2, 2, 2)) == Trial((2, 2, 2), fixed_shape=False, without_gradient=frozenset())
