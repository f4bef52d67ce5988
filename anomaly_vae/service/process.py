"""Settings of the service's process: signals, Python's lock and the garbage collector."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys

__all__ = ["set_at_signals", "shorten_switch_interval", "tune_garbage_collector"]

_EXIT_INTERRUPTED = 130  # 128 + the number of SIGINT, as shells report it

# Python's switch interval, seconds: how long a compute thread keeps Python's lock while the event loop waits for it.
# Python's default of 0.005 would delay every call by up to 5 ms. The value is chosen, not measured.
_SWITCH_INTERVAL_S = 0.0001

# Thresholds of the garbage collector: 20,000 new objects (about 200 calls, at about 100 objects a call) start a
# collection; 20 of those start one of the next generation. Chosen, not measured: higher values make pauses rarer and
# longer.
_GC_THRESHOLDS = (20_000, 20, 20)


def set_at_signals(stop: asyncio.Event) -> None:
    """Set the event at the first signal, exit at a second SIGTERM or SIGINT.

    A second SIGHUP does nothing: a closing terminal sends it twice.
    """

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set() and number is not signal.SIGHUP:
            os._exit(_EXIT_INTERRUPTED)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            asyncio.get_running_loop().add_signal_handler(number, on_signal, number)


def tune_garbage_collector() -> None:
    """Exclude the objects made so far, which exist until the service ends: a full collection pauses every call."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def shorten_switch_interval() -> None:
    """Let the event loop take Python's lock from a compute thread sooner."""
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
