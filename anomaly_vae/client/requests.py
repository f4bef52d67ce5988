"""Rows to requests: how many go in a call, and what may be asked of a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from anomaly_vae.config import check_error
from anomaly_vae.densities import FloatArray
from anomaly_vae.errors import ConfigError
from anomaly_vae.schema import Column, Schema
from anomaly_vae.service.pb import scoring_pb2 as pb

__all__ = ["Wish", "in_parts", "refuse_target", "schema_of", "wish_of"]

_BYTES_PER_CALL = 2**20
# 1,024 rows at 1,024 samples: 3 to 7 s on one thread, so that other callers may have most of a service meanwhile.
_SAMPLES_PER_CALL = 2**20


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is asked about rows: their scores or, ``flag_only``, decisions."""

    num_samples: int
    max_std_error: float | None = None
    flag_only: bool = False

    def request(self, rows: FloatArray, model_name: str, model_version: str) -> pb.ScoreRequest:
        """The request for some rows."""
        values = np.ascontiguousarray(rows, dtype="<f8")
        return pb.ScoreRequest(
            model_name=model_name,
            model_version=model_version,
            num_samples=self.num_samples,
            max_std_error=self.max_std_error or 0.0,
            flag_only=self.flag_only,
            tensor=pb.Tensor(data=values.tobytes(), dtype="FP64", shape=values.shape),
        )


def wish_of(model: pb.Model, num_samples: int | None, max_std_error: float | None) -> Wish:
    """What a user asks for, None for what the model was calibrated with.

    Raises:
        ConfigError: The model has no such budget, or the error is none.
    """
    budgets = list(model.estimator.budgets)
    if num_samples is not None and num_samples not in budgets:
        raise ConfigError(f"num_samples must be one of {', '.join(map(str, budgets))}, got {num_samples!r}")
    check_error(max_std_error)
    budget = model.estimator.num_samples if num_samples is None else int(num_samples)
    return Wish(num_samples=budget, max_std_error=max_std_error)


def in_parts(rows: FloatArray, model: pb.Model, budget: int) -> Iterator[FloatArray]:
    """Rows in messages of about a megabyte, and of a few seconds' work: far from the limits and the timeout."""
    limits = model.limits
    fitting = min(_BYTES_PER_CALL, limits.max_message_bytes // 2) // (8 * rows.shape[1])
    step = max(1, min(fitting, _SAMPLES_PER_CALL // budget, limits.max_rows))
    return (rows[start : start + step] for start in range(0, len(rows), step))


def schema_of(model: pb.Model) -> Schema:
    """The model's columns."""
    columns = tuple(
        Column(
            name=column.name,
            kind=column.kind,
            value=column.value if column.HasField("value") else None,
            categories=tuple(column.categories) if column.kind == "categorical" else None,
            step=column.step if column.HasField("step") else None,
            origin=column.origin,
        )
        for column in model.columns
    )
    return Schema(columns=columns, label=model.label or None)


def refuse_target(target_fpr: float | None) -> None:
    """Raise ConfigError if another target than the model's is asked for."""
    if target_fpr is not None:
        raise ConfigError("target_fpr: a service flags at the target of its model; calibrate and serve another")
