"""Label schemes and layouts for tests of all packages."""

from __future__ import annotations

from brats_ablate.config.data_options import known_layouts, scheme_named
from brats_ablate.labels.scheme import LabelScheme

BRATS2021 = LabelScheme.named_before("brats2021")
REGIONS = ("WT", "TC", "ET")
"""The regions of `BRATS2021`, written out."""

GLI2024 = scheme_named("brats2024_gli")
"""Four regions that are not nested: WT, TC, ET, RC. Stored labels 1 SNFH, 2 NETC, 3 ET, 4 RC."""
MEN_RT = scheme_named("brats_men_rt")
"""One region, GTV, of one tissue; nothing to relabel."""

LAYOUTS = known_layouts()
"""The shipped layouts of file names."""
