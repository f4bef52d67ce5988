"""The priority of compute threads: lower than that of the event loop."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

__all__ = ["lower_priority"]

# The lowest priority that Linux has (setpriority(2)).
_MOST_NICE = 19


def lower_priority(nice: int) -> None:
    """Raise the calling thread's nice value by ``nice`` above the process's.

    Under load, compute threads always have work. At equal priority the event loop would wait for a time slice of theirs
    at each of gRPC's steps, even to refuse a request. Does nothing on systems other than Linux, where a thread has no
    nice value of its own.
    """
    if sys.platform == "linux" and nice:
        own = threading.get_native_id()
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, own, min(os.getpriority(os.PRIO_PROCESS, own) + nice, _MOST_NICE))
