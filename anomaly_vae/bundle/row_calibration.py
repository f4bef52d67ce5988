"""The threshold from scored calibration rows, and the novelty of the columns that leaves one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.calibration import Calibration, calibrate, caveats, usable_rank
from anomaly_vae.columns.novelty import demote_frequent, frequent_novelties
from anomaly_vae.columns.schema import Schema
from anomaly_vae.columns.statistics import RowStatistics, statistics_of
from anomaly_vae.errors import InvalidInput
from anomaly_vae.record import Tail

__all__ = ["RowCalibration", "calibrate_rows", "usable_schema"]


class RowCalibration(NamedTuple):
    """The result of :func:`calibrate_rows`.

    Attributes:
        calibration: The manifest's record.
        scores: The scores for ``calibration.npy``, sorted, nats.
        schema: The columns.
        lowest: Which calibration rows rank below all others, shape (N,).
        used: Which calibration rows were used, shape (N,): those with anything to judge.
        warnings: What the user should know.
        contrast: The contrasts for ``contrast.npy``, sorted, nats; None for a model without a contrast.
        statistics: What the columns of a table held; None for series and images.
    """

    calibration: Calibration
    scores: FloatArray
    schema: Schema
    lowest: NDArray[np.bool_]
    used: NDArray[np.bool_]
    warnings: list[str]
    contrast: FloatArray | None = None
    statistics: RowStatistics | None = None


def usable_schema(
    schema: Schema,
    rows: FloatArray,
    target_fpr: float,
    confidence: float | None = None,
    tail: Tail = "low",
    *,
    contrast: bool = False,
    dependent: bool = False,
) -> tuple[Schema, list[str]]:
    """Return the columns with a novelty that leaves a threshold for these calibration rows (N, D), and warnings.

    Scores depend on the novelty, so this comes before the rows are scored. Of dependent rows, it is not yet known how
    many count, so that the threshold may be the lowest of their scores.

    Raises:
        InvalidInput: Every row has all its cells missing.
    """
    used = ~schema.is_empty(rows)
    if not used.any():
        raise InvalidInput(f"each of the {len(rows)} calibration rows has all its cells missing; leave out empty rows")
    k = 1 if dependent else usable_rank(int(used.sum()), target_fpr, confidence, tail, contrast=contrast)
    return demote_frequent(schema, rows[used], k)


def calibrate_rows(
    schema: Schema,
    rows: FloatArray,
    scores: FloatArray,
    target_fpr: float,
    confidence: float | None = None,
    demotions: Sequence[str] = (),
    tail: Tail = "low",
    contrast: FloatArray | None = None,
) -> RowCalibration:
    """Calibrate on rows (N, D) and their scores, nats, (N,); rows whose cells are all missing are left out.

    Args:
        schema: The columns, from :func:`usable_schema`.
        rows: Normal rows that the model was not trained on.
        scores: Their scores.
        target_fpr: Share of normal rows that may be flagged.
        confidence: Probability with which that share must hold; None to bound its mean.
        demotions: The warnings of :func:`usable_schema`.
        tail: Whether only low scores are anomalies, or also high ones.
        contrast: The contrasts of the rows, nats, (N,); None for a model without a contrast.
    """
    used = ~schema.is_empty(rows)
    lowest = schema.ranks_lowest(rows) & used
    of_used = None if contrast is None else np.sort(contrast[used])
    record, kept = calibrate(scores[used], lowest[used], target_fpr, confidence, tail, of_used)
    frequent = frequent_novelties(schema, rows[used & (lowest | (scores <= record.threshold))])
    warnings = caveats(record) + (list(demotions) or frequent)
    statistics = statistics_of(schema, rows) if schema.shape is None else None
    return RowCalibration(record, kept, schema, lowest, used, warnings, of_used, statistics)
