r"""Thresholds and conformal p-values from scores of calibration rows, which the model did not train on. Pure functions.

Split conformal prediction: if a new normal row is exchangeable with the n calibration rows, then
:math:`p = (1 + \#\{i : s_i \le s\}) / (n + 1)` satisfies :math:`P(p \le \alpha) \le \alpha` for every alpha.
Some rows rank below all others whatever their scores; see :mod:`anomaly_vae.columns.novelty`. Among the n rows they
are only counted, and as new rows they have the score minus infinity here.

Plain or smooth images can be more likely than the images of the training. With the tail "both", scores above those of
normal rows are anomalies too: :math:`p = \min(1, 2 \min(p_\mathrm{low}, p_\mathrm{high}))`, with
:math:`p_\mathrm{high} = (1 + \#\{i : s_i \ge s\}) / (n + 1)`. Each side gets half of alpha, so it has the threshold
of a calibration for alpha / 2, and with a confidence 1 - delta it holds with 1 - delta / 2.

A model of images may also have a contrast: see :mod:`anomaly_vae.density.contrast`. With p of the score and
:math:`p_c = (1 + \#\{i : c_i \le c\}) / (n + 1)` of the contrast c, the p-value is :math:`\min(1, 2 \min(p, p_c))`. It
is valid whatever the dependence of the two (Bonferroni): each has half of alpha.

References:
    Do Deep Generative Models Know What They Don't Know? (Nalisnick et al., 2019), https://arxiv.org/abs/1810.09136
    Testing for Outliers with Conformal p-values (Bates et al., 2023), https://arxiv.org/abs/2104.08279
"""

from anomaly_vae.calibration.false_discovery import Discoveries, PValueGrid, benjamini_hochberg
from anomaly_vae.calibration.p_values import (
    conformal_p_value,
    margins,
    normality,
    rank,
    rank_from_top,
)
from anomaly_vae.calibration.ranks import (
    contrast_rank_of,
    lowest_target,
    rate_of_rank,
    rows_needed,
    shares,
    sides,
    threshold_rank,
    usable_rank,
)
from anomaly_vae.calibration.record import (
    Calibration,
    calibrate,
    caveats,
    rank_for,
    threshold_at_rank,
)

__all__ = [
    "Calibration",
    "Discoveries",
    "PValueGrid",
    "benjamini_hochberg",
    "calibrate",
    "caveats",
    "conformal_p_value",
    "contrast_rank_of",
    "lowest_target",
    "margins",
    "normality",
    "rank",
    "rank_for",
    "rank_from_top",
    "rate_of_rank",
    "rows_needed",
    "shares",
    "sides",
    "threshold_at_rank",
    "threshold_rank",
    "usable_rank",
]
