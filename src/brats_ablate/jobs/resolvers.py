"""Values that an option of `model` takes from other groups, as OmegaConf resolvers: `input_channels: ${channels:}`."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf


def channels(*, _root_: DictConfig) -> int:
    """Return the network's input channels."""
    from brats_ablate.jobs.build import input_channels

    return input_channels(_root_)


def regions(*, _root_: DictConfig) -> int:
    """Return the number of regions, which is the network's number of output channels."""
    from brats_ablate.jobs.build import build_scheme

    return len(build_scheme(_root_).regions)


def patch(*, _root_: DictConfig) -> list[int]:
    """Return (X, Y, Z) of the training patches."""
    return [int(size) for size in _root_.patches.shape]


def lower_heads(*, _root_: DictConfig) -> int:
    """Return the number of supervised heads below the finest; 0 without deep supervision."""
    from brats_ablate.jobs.build import instantiate

    return int(instantiate(_root_.supervision).n_heads) - 1


def deep(*, _root_: DictConfig) -> bool:
    """Return whether there is deep supervision."""
    return lower_heads(_root_=_root_) > 0


def register() -> None:
    """Make the functions above known to OmegaConf under their names."""
    for function in (channels, regions, patch, lower_heads, deep):
        OmegaConf.register_new_resolver(function.__name__, function, replace=True)
