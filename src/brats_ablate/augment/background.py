"""Whether an intensity operation may write to the zeros outside the brain.

The paper leaves it open; its released code treats the background like any other voxel.
"""

from __future__ import annotations

from brats_ablate.errors import ConfigError


def keeps_zeros(name: str, background: str) -> bool:
    """True for "keep", False for "touch", else a ConfigError; `name` is the transform's."""
    if background not in ("touch", "keep"):
        raise ConfigError(f"augment.transforms.{name}.background={background} must be touch or keep")
    return background == "keep"
