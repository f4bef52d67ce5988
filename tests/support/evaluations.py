"""An evaluation with every part, of drawn p-values."""

from __future__ import annotations

import numpy as np

from anomaly_vae.assessment import Evaluation, evaluate
from anomaly_vae.assessment.operating_points import RateOrReason
from anomaly_vae.assessment.slices import slicing_of
from tests.support.assessed import conformal, judged_of, promise_for

__all__ = ["full_evaluation"]


def full_evaluation(text: str = "x", *, anomalies: int = 40) -> Evaluation:
    """Return an evaluation of 300 normal rows and some anomalies; ``text`` is a column, a value and a reason."""
    rng = np.random.default_rng(0)
    p_value = np.concatenate([conformal(rng, 300), conformal(rng, anomalies) ** 4])
    rows = 300 + anomalies
    parts = [slicing_of(text, [text, "y"] * (rows // 2)), slicing_of("few", ["one", *["other"] * (rows - 1)])]
    return evaluate(
        judged_of(p_value),
        np.repeat([False, True], [300, anomalies]),
        promise_for(),
        rates=[RateOrReason(0.001, None, text), RateOrReason(0.1, promise_for(0.1))],
        slicings=parts,
        resamples=50,
    )
