"""The columns of results: what ``anomaly-vae score`` writes and ``Scorer.score_arrow`` returns for each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anomaly_vae.arrow.buffers import from_strings, scatter
from anomaly_vae.arrow.faults import Fault
from anomaly_vae.scores import Flags, Scores

__all__ = ["CONTRAST", "FLAG_SCHEMA", "OUTPUT_SCHEMA", "result_columns"]

OUTPUT_SCHEMA = pa.schema(
    [
        ("log_px", pa.float64()),
        ("elbo", pa.float64()),
        ("std_error", pa.float64()),
        ("ess_ratio", pa.float64()),
        ("p_value", pa.float64()),
        ("is_anomaly", pa.bool_()),
        ("reason", pa.string()),
        ("pareto_k", pa.float64()),
        ("reliable", pa.bool_()),
        ("num_samples", pa.int64()),
        ("score", pa.float64()),
    ]
)
CONTRAST = pa.field("contrast", pa.float64())  # only of models that have one
FLAG_SCHEMA = pa.schema([("is_anomaly", pa.bool_()), ("reason", pa.string()), ("num_samples", pa.int64())])


def result_columns(
    schema: pa.Schema,
    scores: Scores | Flags,
    usable: NDArray[np.bool_],
    faults: Sequence[Fault | None],
    given: Mapping[str, pa.Array] | None = None,
) -> list[pa.Array]:
    """Return the columns of the results, with nulls where there is no value, and one reason per row or null.

    Args:
        schema: The columns; their names are those of ``Scores``.
        scores: Scores of the usable rows.
        usable: Which rows have scores, shape (N,).
        faults: Why the others have none, N entries.
        given: Columns that are no fields of the scores, by name.
    """
    reason, given = iter(scores.reason), given or {}
    reasons = [next(reason) if fault is None else fault.text for fault in faults]
    columns = []
    for column in schema:
        if column.name in given:
            columns.append(given[column.name])
        elif column.name == "reason":
            columns.append(from_strings(reasons))
        else:
            values = getattr(scores, column.name)
            columns.append(pa.nulls(len(usable), column.type) if values is None else scatter(values, usable))
    return columns
