"""Scores to draw, without a model."""

import numpy as np

from anomaly_vae.scores import Scores
from anomaly_vae.series.results import SeriesScores


def drawn_scores(score, is_anomaly=None, *, step_score=None, reasons=None, p_value=True):
    """Scores with these numbers; flags where it is below 0 unless they are given; of series with a step score."""
    score = np.asarray(score, dtype=np.float64)
    known = ~np.isnan(score)
    flagged = known & (score < 0) if is_anomaly is None else np.asarray(is_anomaly)
    fields = {
        "log_px": score,
        "score": score,
        "elbo": score,
        "std_error": np.where(known, 0.1, np.nan),
        "ess_ratio": np.where(known, 0.5, np.nan),
        "pareto_k": np.full(len(score), np.nan),
        "reliable": known,
        "p_value": np.where(known, np.where(flagged, 0.01, 0.5), np.nan) if p_value else None,
        "is_anomaly": flagged if p_value else None,
        "num_samples": np.where(known, 64, 0),
        "reason": [None] * len(score) if reasons is None else list(reasons),
    }
    if step_score is None:
        return Scores(**fields)
    return SeriesScores(**fields, step_score=np.asarray(step_score, dtype=np.float64))
