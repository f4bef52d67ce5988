"""Score a series step by step, as its values arrive."""

from __future__ import annotations

import inspect
import threading
from collections import OrderedDict
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.reading.missing import Markers, text_of
from anomaly_vae.columns.reading.records import Order, TimeReading
from anomaly_vae.columns.schema import Schema
from anomaly_vae.columns.shapes import SeriesShape
from anomaly_vae.errors import ConfigError, InvalidInput, ServiceError
from anomaly_vae.scores import ScoreRow, Scores
from anomaly_vae.series.clock import to_seconds
from anomaly_vae.series.tail import Tail, step_values
from anomaly_vae.series.windows import is_usable, why_no_window

__all__ = ["SeriesScorer", "StepResult", "WindowScorer"]

# Code of the error of a client whose service has another model than at the last call.
_REPLACED = "ABORTED"


class WindowScorer(Protocol):
    """Scores windows: a ``Scorer``, or the blocking ``Client`` of a service."""

    @property
    def schema(self) -> Schema:
        """The columns of the model."""
        ...

    def score_rows(self, rows: FloatArray) -> Scores:
        """Score windows as rows of cells (N, length * C)."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """The scores of the window that ends at one step. All but the first two are None where there is no window.

    Attributes:
        timestamp: The time of the step, seconds since 1970; None if the steps have no times.
        series: The name of the series; None without.
        log_px: As in ``Scores``, and so are the other fields.
        score: Nats; threshold, p-value and flag use it.
        elbo: Evidence lower bound, nats.
        std_error: Standard error of ``log_px``, nats.
        ess_ratio: Effective sample size divided by the number of samples.
        pareto_k: Tail index of the importance weights.
        reliable: Whether ``log_px`` and ``std_error`` can be trusted.
        p_value: Conformal p-value, in (0, 1].
        is_anomaly: Whether the score is below the threshold.
        num_samples: Decoder evaluations used.
        reason: As in ``Scores``, or why there is no window: it starts with "warm-up", "gap" or "missing".
    """

    timestamp: float | None
    series: str | None
    log_px: float | None = None
    score: float | None = None
    elbo: float | None = None
    std_error: float | None = None
    ess_ratio: float | None = None
    pareto_k: float | None = None
    reliable: bool | None = None
    p_value: float | None = None
    is_anomaly: bool | None = None
    num_samples: int | None = None
    reason: str | None = None


# The scores of a step; models of windows have no contrast.
_SCORED = tuple(each.name for each in fields(ScoreRow) if each.name in {own.name for own in fields(StepResult)})


class SeriesScorer:
    """Scores the steps of series as they arrive: each one with the window that ends there.

    The results have the same bits as scoring the whole series as a table, except that a table also gives the
    ``step_score``, which needs later steps. The last steps of each series are kept here, in the memory of the caller:
    8 bytes for each step of a window and each channel. Nothing is kept between processes.

    Several threads may use one object; pushes to the same series wait for each other. When there are more series than
    ``most_series``, the one that was pushed to the longest ago is forgotten: its next step starts it again.

    Example:
        scorer = SeriesScorer(load("model"))
        for timestamp, load, flow in readings():
            result = scorer.push(timestamp, {"load": load, "flow": flow})
            if result.is_anomaly:
                print(result.timestamp, result.p_value)
    """

    def __init__(self, scorer: WindowScorer, *, most_series: int = 10_000) -> None:
        """Prepare; a client requests the description of the model.

        Args:
            scorer: A ``Scorer`` of a model of windows, or a ``Client`` of a service with one.
            most_series: Series that are kept at most.

        Raises:
            ConfigError: The model is not one of windows, or the scorer is an ``AsyncClient``.
            ServiceError: The call of a client failed.
        """
        if inspect.iscoroutinefunction(scorer.score_rows):
            raise ConfigError("scorer: SeriesScorer needs a Scorer or a Client; an AsyncClient cannot be used")
        if most_series < 1:
            raise ConfigError(f"most_series must be at least 1, got {most_series}")
        self._scorer, self._most_series = scorer, most_series
        self._shape = _series_shape(scorer.schema)
        self._markers = Markers(scorer.schema.missing_values)
        self._tails = OrderedDict[str | None, Tail]()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        """Return what is scored, and how many series are kept."""
        shape = self._shape
        return f"SeriesScorer(length={shape.length}, channels={shape.channels}, series={len(self)})"

    def __len__(self) -> int:
        """Return the number of series that are kept."""
        return len(self._tails)

    def push(self, timestamp: Any, values: Any, series: Any = None) -> StepResult:
        """Add one step to a series, and score the window that ends there.

        Missing steps since the last one are inserted as in a table; a long gap starts the series again. If an error is
        raised, nothing was added: the same step can be pushed again.

        Args:
            timestamp: A datetime, a text such as "2024-01-31 13:45:00Z", or seconds since 1970; None if each push is
                the next step. A series has times at all of its steps, or at none.
            values: A mapping from the names of the channels, a sequence in their order, or a number if there is one
                channel. None and NaN are missing.
            series: The name of the series; None if there is only one.

        Raises:
            InvalidInput: The time is not after the last one, or a value is missing, infinite or no number.
            ServiceError, Overloaded: The call of a client failed.
        """
        shape = self._shape
        seconds = None if timestamp is None else to_seconds(timestamp, _order(shape))
        step = self._markers.without(step_values(values, shape.channels))
        name = _name(series)
        tail = self._tail(name)
        with tail.lock:
            after = tail.pushed(seconds, step, shape, name)
            if after.filled < shape.length or not is_usable(after.window):
                why = why_no_window(
                    after.filled,
                    shape.length,
                    last_is_present=not bool(np.isnan(step).all()),
                    after_gap=after.after_gap,
                )
                result = StepResult(timestamp=seconds, series=name, reason=why)
            else:
                scores = self._score(after.window.reshape(1, shape.num_cells))[0]
                found = {each: getattr(scores, each) for each in _SCORED}
                result = StepResult(timestamp=seconds, series=name, **found)
            tail.take(after)
        return result

    def forget(self, series: Any = None) -> None:
        """Forget the steps of a series, for example because it was restarted.

        Args:
            series: Its name; None for the series without a name. A name that is not known is ignored.
        """
        with self._lock:
            self._tails.pop(_name(series), None)

    def _tail(self, name: str | None) -> Tail:
        with self._lock:
            tail = self._tails.setdefault(name, Tail(self._shape))
            self._tails.move_to_end(name)
            if len(self._tails) > self._most_series:
                self._tails.popitem(last=False)
        return tail

    def _score(self, rows: FloatArray) -> Scores:
        """Score windows; once more if the service got another model with the same windows since the last call."""
        try:
            return self._scorer.score_rows(rows)
        except ServiceError as error:
            renew = getattr(self._scorer, "get_model", None)
            if error.code != _REPLACED or renew is None:
                raise
            renew()
            if _series_shape(self._scorer.schema) != self._shape:
                raise ConfigError(
                    "the service has a model with other windows than before; make a new SeriesScorer"
                ) from error
            return self._scorer.score_rows(rows)


def _series_shape(schema: Schema) -> SeriesShape:
    if not isinstance(schema.shape, SeriesShape):
        raise ConfigError(
            f"scorer: the model is one of {schema.kind} rows, SeriesScorer needs one of windows: train with --window"
        )
    return schema.shape


def _order(shape: SeriesShape) -> Order:
    """Return the order of day and month in texts, as in the training table."""
    for each in shape.inputs:
        if each.name == shape.timestamp and isinstance(each.reading, TimeReading):
            return each.reading.order
    return "ymd"


def _name(series: Any) -> str | None:
    """Return the name of a series as a text, as tables are read."""
    if series is None:
        return None
    name = text_of(series)
    if name is None:
        raise InvalidInput(f"series: {series!r} is a missing name; give a text", field="series")
    return name
