"""Counts of a model's requests that succeeded and failed, and the time they took, for ModelStatistics."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.telemetry.histogram import Series

__all__ = ["RequestTotals"]

# Codes of requests for another model, or while no model is served. They do not count as failures of this model.
_NOT_COUNTED = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE)


class RequestTotals:
    """Counts the scoring requests of a model, of all services and streams.

    Attributes:
        success, fail: Count and seconds of the requests that were answered with scores, and of those that were not.
        computing: Seconds from the first row of a request given to a thread to the last one scored. Requests that are
            computed together each count the whole time.
        stages: Seconds that they spent in the stages queue, decode and encode.
        last_success: When a request last succeeded, seconds since 1970; 0 for never.
    """

    def __init__(self) -> None:
        """Start at zero."""
        self.success, self.fail, self.computing = Series(()), Series(()), Series(())
        self.stages = {stage: Series(()) for stage in ("queue", "decode", "encode")}
        self.last_success = 0.0

    @contextmanager
    def timed(self, start: float | None = None) -> Iterator[RequestTotals]:
        """Count the request that is handled in this context, as failed if the context raises.

        Args:
            start: When it began, seconds of ``time.perf_counter``; None for now.
        """
        start = time.perf_counter() if start is None else start
        try:
            yield self
        except BaseException as error:
            if not (isinstance(error, CallError) and error.code in _NOT_COUNTED):
                self.fail.observe_one(time.perf_counter() - start)
            raise
        self.success.observe_one(time.perf_counter() - start)
        self.last_success = time.time()
