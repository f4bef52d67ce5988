"""Figures of tests.benchmarks.default_path from the saved results of a version on a table. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import t as student

from anomaly_vae.assessment.ranking import detection_quality
from tests.benchmarks.adbench import false_positives
from tests.benchmarks.reference import References

__all__ = ["Found", "coverage", "quality", "same_networks"]

# Saved results by way ("score", "flag", "max_std_error") and set of rows, and by field.
Found = Mapping[tuple[str, str], Mapping[str, np.ndarray]]

# Standard errors of an interval that holds 99.7 %: the quantile of Student's t with one degree of freedom less than the
# product has scramblings.
INTERVAL = float(student.ppf(0.9985, 15))

# Networks are the same where the means of q(z|x) and drawn rows differ by at most this, relative to their largest
# value, and where almost all entries do: one rounding error may draw another category.
MOST_DIFFERENCE, ALMOST_ALL = 1e-3, 0.99


def quality(found: Found, calibration_rows: int) -> dict[str, Any]:
    """Return what does not depend on time or on references."""
    good, bad = found["score", "normal"], found["score", "anomalies"]
    detected = detection_quality(good["score"], bad["score"])
    by_score, by_flag = found["score", "all"]["is_anomaly"], found["flag", "all"]["is_anomaly"]
    ways = ("score", "max_std_error")
    kinds = ("normal", "anomalies")
    return {
        "auroc": detected.auroc,
        "ap": detected.average_precision,
        "reliable": {way: {of: float(found[way, of]["reliable"].mean()) for of in kinds} for way in ways},
        "no_error": {way: {of: float(np.isnan(found[way, of]["std_error"]).mean()) for of in kinds} for way in ways},
        "samples": _samples(found),
        "agreement": {
            "rows": len(by_score),
            "flagged": int(by_score.sum()),
            "missed": int((by_score & ~by_flag).sum()),
            "added": int((by_flag & ~by_score).sum()),
        },
        "false_positives": false_positives(good["p_value"], calibration_rows),
    }


def _samples(found: Found) -> dict[str, dict[str, float]]:
    """Return the mean samples a row, by way and set."""
    means: dict[str, dict[str, float]] = {}
    for (way, of), values in found.items():
        means.setdefault(way, {})[of] = float(values["num_samples"].mean())
    return means


def coverage(found: Mapping[str, np.ndarray], references: References) -> dict[str, float]:
    """Compare estimates with the references of the first rows.

    Rows without an agreed reference are left out, and rows with a reason, whose log p(x) has a penalty. A row without
    a standard error counts as outside its interval.
    """
    count = len(references.mean)
    log_px, std_error = found["log_px"][:count], found["std_error"][:count]
    known = references.agreed & ~found["has_reason"][:count]
    reliable = known & found["reliable"][:count]
    difference = log_px - references.mean
    with np.errstate(invalid="ignore"):
        inside = np.abs(difference) <= INTERVAL * np.hypot(std_error, references.error)
    median, p90 = np.quantile(np.abs(difference[known]), [0.5, 0.9]) if known.any() else (np.nan, np.nan)
    return {
        "rows": count,
        "without_reference": int((~references.agreed).sum()),
        "inside": _mean(inside[known]),
        "rows_reliable": int(reliable.sum()),
        "inside_reliable": _mean(inside[reliable]),
        "above": _mean((difference > 0.0)[known & ~inside]),
        "median_error": float(median),
        "p90_error": float(p90),
        "no_error": _mean(np.isnan(std_error[known])),
    }


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def same_networks(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    """Return whether two versions have the same networks, from what the job "networks" saved."""
    for name in ("encoded", "drawn"):
        if one[name].shape != other[name].shape:
            return False
        largest = np.abs(one[name]).max(axis=0)
        close = np.abs(one[name] - other[name]) <= MOST_DIFFERENCE * np.maximum(largest, 1.0)
        if close.mean() < ALMOST_ALL:
            return False
    return True
