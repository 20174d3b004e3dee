"""What holds for every network that the configuration offers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hardware import needs_bf16

from brats_ablate.errors import ConfigError
from brats_ablate.models.encoder import EncoderConfig
from brats_ablate.training.precision import Precision

FILES = sorted((Path(__file__).parents[2] / "conf" / "model").glob("*.yaml"))
NAMES = [f.stem for f in FILES if "external" not in f.stem + f.read_text(encoding="utf-8")]
"""Of this package; test_external.py has those of other packages."""
LARGE = {"dense", "segresnet_vae", "swin_unetr", "unet_plus_plus"}
MODELS = [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in NAMES]
OF_ONE_HEAD = {"mednext", "segresnet_vae", "swin_unetr", "unetr"}
SHAPES = {"swin_unetr": (32, 64, 32)}  # its deepest norm needs more than a voxel
FIVE_LEVELS = [32, 64, 96, 128, 160]


def build_small(build, name, **changes):
    heads = 1 if name in OF_ONE_HEAD else 3
    shape = SHAPES.get(name, (32, 48, 16))
    return build(name, channels=FIVE_LEVELS, width=0.25, n_heads=heads, patch_shape=shape, **changes)


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_gets_a_gradient(build, name):
    model = build_small(build, name)
    model.set_step(10_000)
    output = model(torch.randn(1, 4, *model.patch_shape))
    assert [tuple(level.shape) for level in output.logits] == [
        (1, 3, *(s // 2**i for s in model.patch_shape)) for i in range(len(output.logits))
    ]
    targets = [*output.logits, *output.aux.values()]
    sum((t * torch.randn_like(t)).sum() for t in targets).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []
    # A parameter before a norm may have a gradient of rounding errors only, but not of exact zeros.
    assert [n for n, p in model.named_parameters() if p.grad.abs().max() == 0] == []


@pytest.mark.parametrize("name", MODELS)
def test_state_survives_a_round_trip_and_evaluation_is_deterministic(build, name, tmp_path):
    first, second = build_small(build, name), build_small(build, name)
    torch.save(first.state_dict(), tmp_path / "weights.pt")
    second.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    x = torch.randn(1, 4, *first.patch_shape)
    with torch.no_grad():
        one, two = first.eval()(x), second.eval()(x)
    assert one.aux == {}
    for a, b in zip(one.logits, two.logits, strict=True):
        assert torch.equal(a, b)


@needs_bf16
@pytest.mark.parametrize("name", MODELS)
def test_channels_last_bfloat16_step(build, name):
    model = build_small(build, name).to(memory_format=torch.channels_last_3d)
    precision = Precision("bf16", torch.device("cpu"))
    precision.force_fp32_on_flat_inputs(model)
    x = torch.randn(2, 4, *model.patch_shape).to(memory_format=torch.channels_last_3d)
    with precision.autocast():
        output = model(x)
    sum(t.float().square().mean() for t in output.logits).backward()
    assert all(level.isfinite().all() for level in output.logits)


@pytest.mark.parametrize("name", [m for m in MODELS if m != "unetr"])
def test_other_shapes_than_the_patch_in_evaluation(build, name):
    model = build_small(build, name).eval()
    assert not model.fixed_shape
    shape = [d * n for d, n in zip(model.size_divisor, (3, 2, 4), strict=True)]
    if name == "swin_unetr":
        shape = [64, 32, 64]
    with torch.no_grad():
        assert model(torch.randn(1, 4, *shape)).logits[0].shape == (1, 3, *shape)


@pytest.mark.parametrize("name", sorted(OF_ONE_HEAD))
def test_networks_without_lower_heads_say_so(build, name):
    with pytest.raises(ConfigError, match="supervision=none"):
        build(name, width=0.25, n_heads=3, patch_shape=(32, 32, 32))


def test_unetr_is_of_the_papers_size_and_of_one_shape(build):
    with torch.device("meta"):
        model = build("unetr")
    assert model.fixed_shape
    tokens = model.network.vit.patch_embedding
    assert tokens.n_patches == 8**3
    assert model.network.hidden_size == 768
    assert len(model.network.vit.blocks) == 12


@pytest.mark.parametrize("name", ["unetr", "segresnet_vae"])
def test_patches_that_do_not_fit_are_refused(build, name):
    with pytest.raises(ConfigError, match="not divisible by"):
        build(name, width=0.25, patch_shape=(32, 32, 40))


def test_vae_branch_has_the_papers_latent_and_rebuilds_the_input(build):
    model = build_small(build, "segresnet_vae")
    x = torch.randn(2, 4, *model.patch_shape)
    aux = model(x).aux
    assert set(aux) == {"vae_reconstruction", "vae_mean", "vae_log_var"}
    assert aux["vae_reconstruction"].shape == x.shape
    assert aux["vae_mean"].shape == aux["vae_log_var"].shape == (2, 128)


def test_segresnet_logits_equal_monais_with_the_same_weights(build):
    from monai.networks.nets import SegResNetVAE as Theirs

    model = build_small(build, "segresnet_vae")
    theirs = Theirs(model.patch_shape, True, vae_nz=128, init_filters=8, in_channels=4, out_channels=3)
    theirs.load_state_dict(model.network.state_dict())
    x = torch.randn(1, 4, *model.patch_shape)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x).logits[0], theirs.eval()(x)[0], rtol=1e-5, atol=1e-5)


def test_encoder_width_rounds_to_multiples_of_eight():
    assert EncoderConfig([32, 64, 128, 256, 320, 320], width=0.25).scaled == (8, 16, 32, 64, 80, 80)
    assert EncoderConfig([32, 33], width=0.1).scaled == (8, 8)
    assert EncoderConfig([33, 50]).scaled == (33, 50)
