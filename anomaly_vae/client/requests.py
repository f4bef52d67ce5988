"""Rows to requests: how many rows one call carries, and which options a model accepts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.schema import Schema
from anomaly_vae.errors import ConfigError
from anomaly_vae.record import Tail
from anomaly_vae.score_options import ScoreOptions, check_budget
from anomaly_vae.service.pb import scoring_pb2 as pb

__all__ = ["budget_of", "refuse_target", "score_request", "split_rows"]

# Bytes of rows per call, as doubles. Chosen, not measured: far below the service's default limit of 16 MiB per message.
# Pixels are sent in fewer bytes, but not in fewer calls: a row with more cells takes more time to score.
_BYTES_PER_CALL = 2**20
# Samples (rows x budget) per call: 1,024 rows at 1,024 samples took 3 to 7 s on one thread. Larger calls would come
# near the default timeout of 60 s when the service also has other callers. Under an error target the budget is a cap,
# and rows are expected to take at most this many; most take 150 to 700.
_SAMPLES_PER_CALL, _EXPECTED_SAMPLES = 2**20, 1024


def refuse_target(target_fpr: float | None, tail: Tail | None = None) -> None:
    """Raise ConfigError if a target or a tail is given: a service flags by those of its model only."""
    if target_fpr is not None:
        raise ConfigError("target_fpr: a service flags at the target of its model; calibrate and serve another")
    if tail is not None:
        raise ConfigError("tail: a service flags at the tail of its model; calibrate and serve another")


def budget_of(options: ScoreOptions, model: pb.Model) -> int:
    """Return the decoder evaluations per row to request.

    Raises:
        ConfigError: The model does not have the budget of ``options``.
    """
    if options.num_samples is None:
        return int(model.estimator.num_samples)
    return check_budget(options.num_samples, list(model.estimator.budgets))


def score_request(
    rows: FloatArray,
    options: ScoreOptions,
    budget: int,
    schema: Schema,
    model_name: str,
    model_version: str,
    request_id: str = "",
    explain: int = 0,
) -> pb.ScoreRequest:
    """Return the request for some rows (N, D); with ``explain`` columns all of them are explained."""
    return pb.ScoreRequest(
        model_name=model_name,
        model_version=model_version,
        request_id=request_id,
        num_samples=budget,
        max_std_error=options.max_std_error or 0.0,
        flag_only=options.flag_only,
        explain=explain,
        explain_all=explain > 0,
        tensor=_tensor(rows, schema),
    )


def _tensor(rows: FloatArray, schema: Schema) -> pb.Tensor:
    """Return the rows as doubles, or as bytes if they are pixels and the service reads the same doubles from them."""
    values = np.ascontiguousarray(rows, dtype="<f8")
    pixels = _as_bytes(values) if schema.kind == "image" else None
    if pixels is not None:
        return pb.Tensor(data=pixels.tobytes(), dtype="UINT8", shape=pixels.shape)
    return pb.Tensor(data=values.tobytes(), dtype="FP64", shape=values.shape)


def _as_bytes(values: FloatArray) -> NDArray[np.uint8] | None:
    """Return values (N, D) as bytes; None if one of them is missing, a fraction, negative or above 255."""
    if not ((values >= 0.0) & (values <= 255.0)).all():  # False for NaN
        return None
    pixels = values.astype(np.uint8)
    return pixels if np.array_equal(pixels.astype(np.float64).view(np.uint64), values.view(np.uint64)) else None


def split_rows(rows: FloatArray, model: pb.Model, budget: int, work: float = 1.0) -> Iterator[FloatArray]:
    """Split rows into parts of one call each: at most about 1 MiB, a few seconds of work, and the service's limits.

    Args:
        rows: Rows (N, D).
        model: The model and the limits of its service.
        budget: Decoder evaluations per row.
        work: As how many scored rows a row counts.
    """
    limits = model.limits
    fitting = min(_BYTES_PER_CALL, limits.max_message_bytes // 2) // (8 * rows.shape[1])
    step = max(1, min(fitting, int(_SAMPLES_PER_CALL // (work * min(budget, _EXPECTED_SAMPLES))), limits.max_rows))
    return (rows[start : start + step] for start in range(0, len(rows), step))
