"""When to send a call again, and after how long. Scoring changes nothing, so a call may always be sent again."""

from __future__ import annotations

from collections.abc import Callable

import grpc

__all__ = ["seconds_to_wait"]

_FIRST = 0.1
_LONGEST = 5.0
_DOUBLINGS = 16  # beyond, the longest holds, and the power would overflow
_LONGEST_ASKED_FOR = 600.0


def seconds_to_wait(
    code: grpc.StatusCode, retry_after: float | None, tries: int, draw: Callable[[], float]
) -> float | None:
    """Seconds until a failed call is sent again, or None if that would not help.

    Clients that failed together must not come back together: the wait is drawn evenly up to a bound that doubles with
    each try ("full jitter"), and is never less than what the service asks for.

    Args:
        code: How it failed. RESOURCE_EXHAUSTED without ``retry_after`` is a message too large: it will not shrink.
        retry_after: Seconds that the service asks to wait (google.rpc.RetryInfo), or None.
        tries: How often it was sent.
        draw: Gives a random number in [0, 1).

    References:
        Exponential Backoff And Jitter (Brooker, 2015),
        https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    full = code is grpc.StatusCode.RESOURCE_EXHAUSTED and retry_after is not None
    if not full and code is not grpc.StatusCode.UNAVAILABLE:
        return None
    bound = min(_LONGEST, _FIRST * 2.0 ** min(tries - 1, _DOUBLINGS))
    wait = max(retry_after or 0.0, bound * draw())
    return wait if wait <= _LONGEST_ASKED_FOR else None
