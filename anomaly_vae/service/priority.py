"""Who goes first on processors that all want: the event loop, which answers, before the threads that compute."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

__all__ = ["give_way"]

_NICEST = 19


def give_way(nice: int) -> None:
    """Let others go before the calling thread, by so much more niceness than the process has.

    A thread that computes is never out of work for long when many requests come. One that wakes up, because a request
    has come or is to be refused, would have to wait until its turn is over, at each of the steps that gRPC takes.
    Where threads have no niceness of their own (other systems than Linux) this does nothing.
    """
    if sys.platform == "linux" and nice:
        own = threading.get_native_id()
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, own, min(os.getpriority(os.PRIO_PROCESS, own) + nice, _NICEST))
