"""How many requests were answered with scores and how many were not, and the time they took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from anomaly_vae.service.faults import Fault
from anomaly_vae.service.histogram import Series

__all__ = ["RequestTotals"]

# Told to requests for another model, or before there is one and after there was: they say nothing of this one.
_ELSEWHERE = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE)


class RequestTotals:
    """Counts requests for rows' scores, of all services and streams, until they are answered.

    Attributes:
        success, fail: How many, and their seconds.
        computing: Seconds from the first row of a request handed out to the last one scored; requests that are computed
            together each count all of it.
        last_success: When one was last answered, seconds since 1970; 0 for never.
    """

    def __init__(self) -> None:
        """Start at zero."""
        self.success, self.fail, self.computing = Series(()), Series(()), Series(())
        self.last_success = 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the request that is answered within, as failed if that raises anything."""
        start = time.perf_counter()
        try:
            yield
        except BaseException as error:
            if not (isinstance(error, Fault) and error.code in _ELSEWHERE):
                self.fail.observe_one(time.perf_counter() - start)
            raise
        self.success.observe_one(time.perf_counter() - start)
        self.last_success = time.time()
