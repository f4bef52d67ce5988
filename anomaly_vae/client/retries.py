"""Which failed calls are sent again, and after how long. Scoring changes nothing, so repeating a call is safe."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from anomaly_vae.client.failures import is_permanent, is_unconnected, lost_connection

__all__ = ["backoff_s", "is_retryable"]

# Bound of the first wait, seconds; it doubles with each attempt. Chosen, not measured: a service starts in 0.5 s.
_FIRST_BOUND_S = 0.1
# Largest bound, seconds, for a service that is not reachable. Attempts cost it nothing, so they may be frequent.
_MAX_BOUND_S = 1.0
# Largest bound, seconds, for a service whose queue is full: each attempt costs it work.
_MAX_BOUND_FULL_S = 5.0
# Limit of the doublings: the largest bound is reached long before, and the power would overflow.
_MAX_DOUBLINGS = 16
# A service that requests a longer wait than this, seconds, is not called again. Chosen, not measured.
_MAX_REQUESTED_S = 600.0


def is_retryable(code: grpc.StatusCode, details: str, requested_s: float | None) -> bool:
    """Return True if a failed call may succeed when it is sent again.

    Args:
        code: The status code. gRPC also reports CANCELLED for some calls that outlast the grace period of a service;
            calls cancelled by the caller raise another type of exception.
        details: The text of the status.
        requested_s: Seconds that the service requests to wait, or None. RESOURCE_EXHAUSTED without it means that a
            message is too large, so repeating it would fail again.
    """
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return requested_s is not None
    if is_unconnected(code, details):
        return not is_permanent(details)
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return True
    return lost_connection(code, details)


def backoff_s(
    code: grpc.StatusCode, requested_s: float | None, attempts: int, draw: Callable[[], float]
) -> float | None:
    """Return the seconds to wait before a failed call is sent again; None if the service requests a too long wait.

    The wait is random, so that clients that failed together do not return together: uniform between 0 and a bound that
    doubles with each attempt ("full jitter"), and never shorter than the service requests.

    Args:
        code: The status code.
        requested_s: Seconds that the service requests to wait (google.rpc.RetryInfo), or None.
        attempts: How often the call was sent.
        draw: Returns a random number in [0, 1).

    References:
        Exponential Backoff And Jitter (Brooker, 2015),
        https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    largest = _MAX_BOUND_FULL_S if code is grpc.StatusCode.RESOURCE_EXHAUSTED else _MAX_BOUND_S
    bound = min(largest, _FIRST_BOUND_S * 2.0 ** min(attempts - 1, _MAX_DOUBLINGS))
    wait = max(requested_s or 0.0, bound * draw())
    return wait if wait <= _MAX_REQUESTED_S else None
