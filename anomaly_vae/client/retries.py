"""When to send a call again, and after how long. Scoring changes nothing, so a call may always be sent again."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from anomaly_vae.client.failures import broke_connection, cannot_heal, is_unconnected

__all__ = ["may_pass", "seconds_to_wait"]

# Seconds. A service that is not there does not mind being tried often; one that has too much to do does.
_FIRST = 0.1
_LONGEST = 1.0
_LONGEST_IF_FULL = 5.0
_DOUBLINGS = 16  # beyond, the longest holds, and the power would overflow
_LONGEST_ASKED_FOR = 600.0


def may_pass(code: grpc.StatusCode, details: str, retry_after: float | None) -> bool:
    """Whether a failed call may succeed if it is sent again.

    Args:
        code: How it failed. CANCELLED is what gRPC tells some of the calls that outlast the grace of a service; those
            that the caller cancels end by an exception of another kind.
        details: What gRPC or the service said.
        retry_after: Seconds that the service asks to wait, or None. RESOURCE_EXHAUSTED without is a message too large:
            it will not shrink.
    """
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return retry_after is not None
    if is_unconnected(code, details):
        return not cannot_heal(details)
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return True
    return broke_connection(code, details)


def seconds_to_wait(
    code: grpc.StatusCode, retry_after: float | None, tries: int, draw: Callable[[], float]
) -> float | None:
    """Seconds until a failed call is sent again, or None if that is longer than anybody waits.

    Clients that failed together must not come back together: the wait is drawn evenly up to a bound that doubles with
    each try ("full jitter"), and is never less than what the service asks for.

    Args:
        code: How it failed.
        retry_after: Seconds that the service asks to wait (google.rpc.RetryInfo), or None.
        tries: How often it was sent.
        draw: Gives a random number in [0, 1).

    References:
        Exponential Backoff And Jitter (Brooker, 2015),
        https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    longest = _LONGEST_IF_FULL if code is grpc.StatusCode.RESOURCE_EXHAUSTED else _LONGEST
    bound = min(longest, _FIRST * 2.0 ** min(tries - 1, _DOUBLINGS))
    wait = max(retry_after or 0.0, bound * draw())
    return wait if wait <= _LONGEST_ASKED_FOR else None
