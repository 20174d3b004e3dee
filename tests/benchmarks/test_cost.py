"""The comparison of designs: its t-test by hand, its prices, and the variance that `job=plan` assumes."""

from __future__ import annotations

import cost
import numpy as np
import pytest
from calibration import BASE
from generators import Drawn, components
from statsmodels.stats.multitest import multipletests

from brats_ablate.tables.designs import VarianceParts
from brats_ablate.tables.variance import FoldStatistics, estimate
