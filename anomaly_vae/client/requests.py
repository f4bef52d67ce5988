"""Rows to requests: how many rows one call carries, and which options a model accepts."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.reading.records import Input, Reading
from anomaly_vae.columns.schema import NOVELTIES, Column, Novelty, Schema
from anomaly_vae.errors import ConfigError, ServiceError
from anomaly_vae.score_options import ScoreOptions, check_budget
from anomaly_vae.service.pb import scoring_pb2 as pb

__all__ = ["budget_of", "refuse_target", "schema_of", "score_request", "split_rows"]

# Bytes of rows per call. Chosen, not measured: far below the service's default limit of 16 MiB per message.
_BYTES_PER_CALL = 2**20
# Samples (rows x budget) per call: 1,024 rows at 1,024 samples took 3 to 7 s on one thread. Larger calls would come
# near the default timeout of 60 s when the service also has other callers. Under an error target the budget is a cap,
# and rows are expected to take at most this many; most take 150 to 700.
_SAMPLES_PER_CALL, _EXPECTED_SAMPLES = 2**20, 1024


def refuse_target(target_fpr: float | None) -> None:
    """Raise ConfigError if a target is given: a service flags at the target of its model only."""
    if target_fpr is not None:
        raise ConfigError("target_fpr: a service flags at the target of its model; calibrate and serve another")


def budget_of(options: ScoreOptions, model: pb.Model) -> int:
    """Return the decoder evaluations per row to request.

    Raises:
        ConfigError: The model does not have the budget of ``options``.
    """
    if options.num_samples is None:
        return int(model.estimator.num_samples)
    return check_budget(options.num_samples, list(model.estimator.budgets))


def score_request(
    rows: FloatArray, options: ScoreOptions, budget: int, model_name: str, model_version: str
) -> pb.ScoreRequest:
    """Return the request for some rows (N, D)."""
    values = np.ascontiguousarray(rows, dtype="<f8")
    return pb.ScoreRequest(
        model_name=model_name,
        model_version=model_version,
        num_samples=budget,
        max_std_error=options.max_std_error or 0.0,
        flag_only=options.flag_only,
        tensor=pb.Tensor(data=values.tobytes(), dtype="FP64", shape=values.shape),
    )


def split_rows(rows: FloatArray, model: pb.Model, budget: int) -> Iterator[FloatArray]:
    """Split rows into parts of one call each: at most about 1 MiB, a few seconds of work, and the service's limits."""
    limits = model.limits
    fitting = min(_BYTES_PER_CALL, limits.max_message_bytes // 2) // (8 * rows.shape[1])
    step = max(1, min(fitting, _SAMPLES_PER_CALL // min(budget, _EXPECTED_SAMPLES), limits.max_rows))
    return (rows[start : start + step] for start in range(0, len(rows), step))


def _novelty(column: pb.ModelColumn) -> Novelty | None:
    """Return the novelty; None if the service does not state it, or states one that this release does not know."""
    return next((known for known in NOVELTIES if known == column.novelty), None)


def schema_of(model: pb.Model) -> Schema:
    """Return the model's columns."""
    columns = tuple(
        Column(
            name=column.name,
            kind=column.kind,
            value=column.value if column.HasField("value") else None,
            categories=tuple(column.categories) if column.kind == "categorical" else None,
            step=column.step if column.HasField("step") else None,
            origin=column.origin,
            rare=tuple(column.rare),
            other_share=column.other_share if column.HasField("other_share") else None,
            novelty=_novelty(column),
            period=column.period if column.HasField("period") else None,
        )
        for column in model.columns
    )
    inputs = tuple(Input(name=each.name, reading=_reading(each)) for each in model.inputs)
    return Schema(columns=columns, label=model.label or None, inputs=inputs, missing_values=tuple(model.missing_values))


def _reading(each: pb.Input) -> Reading:
    """Return how an input is read."""
    fields = {descriptor.name: value for descriptor, value in each.ListFields() if descriptor.name != "name"}
    try:
        reading: Reading = msgspec.convert(
            {name: value if isinstance(value, (str, bool)) else list(value) for name, value in fields.items()}, Reading
        )
    except msgspec.ValidationError as error:
        raise ServiceError(
            f"the service reads column {each.name!r} in a way that this release does not know ({error}); upgrade "
            "anomaly_vae",
            code="UNIMPLEMENTED",
        ) from error
    return reading
