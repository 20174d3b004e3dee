"""The SVG of a network: its boxes against what forward hooks see of real numbers, its arrows against known wirings."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
import torch
from composition import composed
from omegaconf import DictConfig

from brats_ablate.config.locations import resource_dir
from brats_ablate.jobs.build import build_model, input_channels
from brats_ablate.model_summary.counts import count
from brats_ablate.model_summary.svg import draw_svg

EXPERIMENTS = sorted(path.stem for path in (resource_dir("conf") / "experiment").glob("*.yaml"))
SVG = "{http://www.w3.org/2000/svg}"


def thin(experiment: str) -> DictConfig:
    """Of four levels where the levels are the experiment's to set, on a patch with unequal axes."""
    foreign = experiment in ("mednext", "segresnet_vae", "swin_unetr", "unetr")
    cfg = composed(
        f"+experiment={experiment}", "encoder.width=0.0625", f"patches.shape={[32, 32, 64] if foreign else [8, 8, 16]}"
    )
    cfg.encoder.channels = cfg.encoder.channels[:4]
    return cfg


def drawn(cfg: DictConfig) -> ElementTree.Element:
    shape = (1, input_channels(cfg), *cfg.patches.shape)
    return ElementTree.fromstring(draw_svg(count(lambda: build_model(cfg), shape).calls, shape, cfg.name))


def boxes_of(svg: ElementTree.Element) -> list[tuple[str, list[str]]]:
    """(part, its lines of text) in the order drawn."""
    return [(g.attrib["data-part"], [str(t.text) for t in g.iter(f"{SVG}text")]) for g in svg.iter(f"{SVG}g")]


def arrows_of(svg: ElementTree.Element) -> set[tuple[str, str]]:
    return {(p.attrib["data-from"], p.attrib["data-to"]) for p in svg.iter(f"{SVG}path") if "data-from" in p.attrib}


def written(shape: torch.Size) -> str:
    """As a box says it."""
    _, channels, x, y, z = shape
    return f"{channels} × {x}³" if x == y == z else f"{channels} × {x}×{y}×{z}"


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_channels_and_shapes_are_those_of_a_real_forward(experiment: str) -> None:
    cfg = thin(experiment)
    model = build_model(cfg).train()
    seen: list[tuple[str, str]] = []
    for name, module in model.named_modules():
        module.register_forward_hook(
            lambda _, __, out, name=name: (
                seen.append((name, written(out.shape))) if isinstance(out, torch.Tensor) and out.ndim == 5 else None
            )
        )
    with torch.no_grad():
        model(torch.randn(1, input_channels(cfg), *cfg.patches.shape))
    boxes = boxes_of(drawn(cfg))
    gridded = [(name, lines[0]) for name, lines in boxes if "³" in lines[0] or lines[0].count("×") == 3]
    inside = [box for box in gridded if box[0] != "input"]
    if experiment == "swin_unetr":  # its transformer returns a list
        inside = [box for box in inside if box[0] != "network.swinViT"]
    assert inside == [box for box in seen if box[0] in {name for name, _ in inside}]
    assert len(inside) >= 8


def test_the_baseline_is_figure_2() -> None:
    """Channels and resolutions of the paper's figure; the flow of a U-Net."""
    svg = drawn(composed("+experiment=baseline"))
    boxes = dict(boxes_of(svg))
    levels = ["32 × 128³", "64 × 64³", "128 × 32³", "256 × 16³", "320 × 8³", "320 × 4³"]
    assert [boxes[f"encoder.{i}"][0] for i in range(6)] == levels
    assert [boxes[f"decoder.{i}"][0] for i in range(5)] == levels[:5]
    assert boxes["heads.0"][0] == "3 × 128³"
    assert boxes["encoder.1"][2:] == ["3³/2 32→64", "3³ 64→64"]
    assert boxes["decoder.4"][2:] == ["up 2³ 320→320", "3³ 640→320", "3³ 320→320"]
    down = {(f"encoder.{i}", f"encoder.{i + 1}") for i in range(5)}
    skips = {(f"encoder.{i}", f"decoder.{i}") for i in range(5)}
    up = {("encoder.5", "decoder.4"), *((f"decoder.{i + 1}", f"decoder.{i}") for i in range(4))}
    assert arrows_of(svg) == {("input", "encoder.0"), ("decoder.0", "heads.0")} | down | skips | up


def test_the_best_network_has_seven_levels_three_heads_and_five_channels() -> None:
    svg = drawn(composed("+experiment=ds_deeper_channels_onehot"))
    boxes = dict(boxes_of(svg))
    assert boxes["input"][0] == "5 × 128³"
    assert boxes["encoder.6"][0] == "512 × 2³"
    assert [boxes[f"heads.{i}"][0] for i in range(3)] == ["3 × 128³", "3 × 64³", "3 × 32³"]
    assert {(f"decoder.{i}", f"heads.{i}") for i in range(3)} <= arrows_of(svg)


def test_nested_skips_are_all_drawn() -> None:
    arrows = arrows_of(drawn(thin("unet_plus_plus")))
    # Node (i, j) is nodes.i.(j - 1); (i, 0) the encoder's level i.
    node = {(i, j): f"nodes.{i}.{j - 1}" if j else f"encoder.{i}" for i in range(4) for j in range(4 - i)}
    inside = {(node[i, k], node[i, j]) for i, j in node for k in range(j)}
    from_below = {(node[i + 1, j - 1], node[i, j]) for i, j in node if j}
    down = {(node[i, 0], node[i + 1, 0]) for i in range(3)}
    assert arrows == inside | from_below | down | {("input", "encoder.0"), ("nodes.0.2", "heads.0")}


def test_a_gate_is_named_on_its_skips() -> None:
    words = [t.text for t in drawn(thin("attention")).iter(f"{SVG}text")]
    assert words.count("AttentionGate") == 3
    assert "skip" not in words


@pytest.mark.parametrize(
    "experiment", ["ds_deeper_channels_onehot", "attention_as_released", "unet_plus_plus", "segresnet_vae", "unetr"]
)
def test_boxes_lie_inside_and_apart_and_hold_their_text(experiment: str) -> None:
    svg = drawn(composed(f"+experiment={experiment}"))
    width, height = (float(v) for v in svg.attrib["viewBox"].split()[2:])
    places = []
    for group in svg.iter(f"{SVG}g"):
        rect = group.find(f"{SVG}rect")
        x, y, w, h = (float(rect.attrib[k]) for k in ("x", "y", "width", "height"))
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
        for text in group.iter(f"{SVG}text"):
            assert x < float(text.attrib["x"]) < x + w - 6.6 * len(str(text.text))
            assert y < float(text.attrib["y"]) < y + h
        places.append((x, y, w, h))
    for i, (x, y, w, h) in enumerate(places):
        for other_x, other_y, other_w, other_h in places[:i]:
            assert x + w < other_x or other_x + other_w < x or y + h < other_y or other_y + other_h < y


def test_the_file_needs_no_other_and_knows_a_dark_page() -> None:
    text = draw_svg(count(lambda: build_model(thin("ds")), (1, 4, 8, 8, 16)).calls, (1, 4, 8, 8, 16), "a < b & c")
    assert ElementTree.fromstring(text).find(f"{SVG}title").text == "a < b & c"  # type: ignore[union-attr]
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"(href|src|@import|url\((?!#))", text)
