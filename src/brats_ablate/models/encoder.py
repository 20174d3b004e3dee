"""Depth and width of a network: "Deeper" and "Channels" of paper section 3.3."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EncoderConfig:
    """The channels of each stage, finest first, and a factor that scales all of them.

    Networks of fixed depth (UNETR, SegResNetVAE, …) use the factor alone.
    """

    channels: list[int]
    width: float = 1.0

    @property
    def scaled(self) -> tuple[int, ...]:
        """The channels of each stage times `width`, as multiples of 8 where `width` is not 1."""
        return tuple(self.scale(c) for c in self.channels)

    def scale(self, channels: int, multiple: int = 8) -> int:
        """Multiply `channels` by `width`, rounded to a positive multiple of `multiple` unless `width` is 1."""
        if self.width == 1:
            return channels
        return max(1, round(channels * self.width / multiple)) * multiple
