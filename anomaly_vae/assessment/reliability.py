"""How far the estimates of log p(x) can be trusted, and how many decisions hang on their errors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.assessment.ranking import Judged
from anomaly_vae.calibration import margins
from anomaly_vae.record import Record

__all__ = ["Reliability", "reliability"]

_QUANTILES = (0.5, 0.9, 0.99)

# Standard errors within which a decision counts as close. About 95 % of estimates are within two of the truth.
_CLOSE = 2.0


class Reliability(Record):
    """Errors of the estimates of some rows.

    Attributes:
        rows: All rows.
        reliable: How many are reliable, as the column ``reliable`` says.
        unknown: How many have no standard error.
        median, q90, q99, largest: Quantiles of the known standard errors, nats; None if there is none.
        close: Rows whose score is within two standard errors of the threshold: another sample could decide otherwise.
            Rows without a standard error do not count, nor do those that rank below all others.
    """

    rows: int
    reliable: int
    unknown: int
    median: float | None
    q90: float | None
    q99: float | None
    largest: float | None
    close: int


def reliability(judged: Judged, chosen: NDArray[np.bool_]) -> Reliability:
    """Return the reliability of the chosen rows, a mask (N,)."""
    scores = judged.scores
    errors = scores.std_error[chosen]
    known = errors[~np.isnan(errors)]
    quantiles = [float(q) for q in np.quantile(known, [*_QUANTILES, 1.0])] if len(known) else [None] * 4
    distance = np.abs(margins(scores.score[chosen], *judged.thresholds))
    is_close = distance <= _CLOSE * errors  # False for NaN
    return Reliability(
        rows=len(errors),
        reliable=int(scores.reliable[chosen].sum()),
        unknown=len(errors) - len(known),
        median=quantiles[0],
        q90=quantiles[1],
        q99=quantiles[2],
        largest=quantiles[3],
        close=int((is_close & ~judged.ranks_lowest[chosen]).sum()),
    )
