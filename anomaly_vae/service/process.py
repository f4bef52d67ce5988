"""Settings of the service's process: signals, Python's lock and the garbage collector."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable

__all__ = ["has_terminal", "set_at_signals", "shorten_switch_interval", "tune_garbage_collector"]

_EXIT_INTERRUPTED = 130  # 128 + the number of SIGINT, as shells report it

# Python's switch interval, seconds: how long a compute thread keeps Python's lock while the event loop waits for it.
# Python's default of 0.005 would delay every call by up to 5 ms. The value is chosen, not measured.
_SWITCH_INTERVAL_S = 0.0001

# Thresholds of the garbage collector: 20,000 new objects (about 200 calls, at about 100 objects a call) start a
# collection; 20 of those start one of the next generation. Chosen, not measured: higher values make pauses rarer and
# longer.
_GC_THRESHOLDS = (20_000, 20, 20)


def set_at_signals(stop: asyncio.Event, on_hangup: Callable[[], None]) -> None:
    """Set the event at the first SIGTERM or SIGINT, exit at a second one; call a function at SIGHUP.

    A terminal that is closed sends SIGHUP as well. Then the event is set, since nobody sees the process any more.
    """
    had_terminal = has_terminal()

    def on_hangup_or_closed() -> None:
        if had_terminal and not has_terminal():
            stop.set()
        else:
            on_hangup()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(_EXIT_INTERRUPTED)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it
        loop.add_signal_handler(signal.SIGHUP, on_hangup_or_closed)


def tune_garbage_collector() -> None:
    """Exclude the objects made so far, which exist until the service ends: a full collection pauses every call."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def shorten_switch_interval() -> None:
    """Let the event loop take Python's lock from a compute thread sooner."""
    sys.setswitchinterval(_SWITCH_INTERVAL_S)


def has_terminal() -> bool:
    """Return whether the process has a terminal that is open."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError:
        return False
    return True
