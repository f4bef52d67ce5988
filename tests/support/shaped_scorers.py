"""Scorers of windows and of images whose scores are known, for jobs."""

from __future__ import annotations

import numpy as np

from anomaly_vae.columns.schema import Column, Schema
from anomaly_vae.columns.shapes import ImageShape, cell_names
from anomaly_vae.errors import ConfigError
from anomaly_vae.explained import Why
from anomaly_vae.scores import Flags, Scores

__all__ = ["SumScorer", "image_schema"]


def image_schema(shape: ImageShape, **options) -> Schema:
    columns = tuple(Column(name=name, kind="integer", **options) for name in cell_names(shape))
    return Schema(columns=columns, shape=shape)


class SumScorer:
    """log p(x) is the sum of the cells, without missing ones. Anomalies are below 0."""

    num_samples = 64
    has_contrast = False

    def __init__(self, schema, *, has_contrast=False):
        self.schema, self.has_contrast = schema, has_contrast
        self.seen = []

    def score_rows(self, rows, *, num_samples=None, max_std_error=None, target_fpr=None, tail=None):
        if num_samples not in (None, 64):
            raise ConfigError("num_samples must be 64")
        self.seen.append(rows)
        total = np.nansum(rows, axis=1)
        high = 5.0 if tail == "both" else np.inf
        is_calibrated = max_std_error is None
        return Scores(
            **dict.fromkeys(("log_px", "score", "elbo", "ess_ratio"), total),
            std_error=np.full(len(rows), 0.25),
            pareto_k=np.full(len(rows), np.nan),
            reliable=np.ones(len(rows), dtype=bool),
            p_value=np.full(len(rows), target_fpr or 0.5) if is_calibrated else None,
            is_anomaly=(total < 0.0) | (total > high) if is_calibrated else None,
            num_samples=np.full(len(rows), 64),
            reason=["low" if value < 0 else None for value in total],
            contrast=-total if self.has_contrast else None,
        )

    def flag_rows(self, rows, *, target_fpr=None, tail=None):  # noqa: ARG002 (the scorer's signature)
        return Flags(
            is_anomaly=np.nansum(rows, axis=1) < (target_fpr or 0.0),
            num_samples=np.full(len(rows), 16),
            reason=[None] * len(rows),
        )

    def explain_rows(self, rows, *, top=3, on_rows=None):
        """The sum of the cells is to blame."""
        if on_rows:
            on_rows(len(rows))
        return [
            [Why(column="sum", value=total, nats=1.0, std_error=0.1, excess=1.0)][:top]
            for total in np.nansum(rows, axis=1).tolist()
        ]

    def thresholds(self, *, target_fpr=None, tail=None):
        return target_fpr or 0.0, 5.0 if tail == "both" else None

    def encode_rows(self, rows):
        """The sum of the cells and their number."""
        return np.column_stack([np.nansum(rows, axis=1), np.full(len(rows), rows.shape[1])]).astype(float)

    def sample(self, n, seed):
        """Every cell of row i is i, and a hundredth of the seed."""
        return np.repeat(np.arange(n)[:, None] + seed / 100.0, len(self.schema.columns), axis=1)
