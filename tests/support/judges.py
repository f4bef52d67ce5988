"""A judge of rows without a bundle: the scores of an estimator, by a rule of its own."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from anomaly_vae.columns.adjustment import Adjustment
from anomaly_vae.density.precision import Precision

__all__ = ["judge_of"]


def judge_of(estimator, schema=None, threshold=-np.inf, parts=None, precision=Precision(0.1, 1024)):  # noqa: B008 (a constant)
    """Rows with log p(x) below the threshold are anomalies, with the p-value 0.01; others have 0.5."""
    schema = schema or estimator.members[0].features.schema
    parts = np.zeros(len(schema.modelled)) if parts is None else parts

    def scores(rows, options):
        found = estimator.estimate(rows, precision)
        is_anomaly = found.log_px < threshold
        return SimpleNamespace(
            log_px=found.log_px,
            std_error=found.std_error,
            p_value=np.where(is_anomaly, 0.01, 0.5),
            is_anomaly=is_anomaly,
        )

    manifest = SimpleNamespace(schema=schema, adjustment=Adjustment(parts=tuple(float(part) for part in parts)))
    return SimpleNamespace(estimator=estimator, scores=scores, bundle=SimpleNamespace(manifest=manifest))
