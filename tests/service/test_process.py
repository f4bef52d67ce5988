"""Signals and settings of the process; tests/service/test_server.py sends signals to a real one."""

from __future__ import annotations

import asyncio
import gc
import os
import pty
import signal
import subprocess
import sys

import pytest

from anomaly_vae.service.process import set_at_signals, shorten_switch_interval, tune_garbage_collector

TWICE = """
import asyncio, os, signal
from anomaly_vae.service.process import set_at_signals

async def main():
    stop = asyncio.Event()
    set_at_signals(stop, lambda: print("look"))
    for number in (signal.{first}, signal.{second}):
        os.kill(os.getpid(), number)
        await stop.wait()
    for _ in range(10):  # the loop reads the signal in one pass, and calls its handler in another
        await asyncio.sleep(0)
    print("still here")

asyncio.run(main())
"""

CLOSED = """
import asyncio, os, sys
from anomaly_vae.service.process import set_at_signals

async def main():
    os.open(sys.argv[1], os.O_RDWR)  # becomes the terminal of this session
    stop = asyncio.Event()
    set_at_signals(stop, lambda: print("look", flush=True))
    print("ready", flush=True)
    await stop.wait()
    print("stopped", flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_sets_the_event_or_calls_the_function(number):
    async def main():
        stop, hung_up = asyncio.Event(), asyncio.Event()
        set_at_signals(stop, hung_up.set)
        os.kill(os.getpid(), number)
        first, second = (hung_up, stop) if number is signal.SIGHUP else (stop, hung_up)
        await asyncio.wait_for(first.wait(), 60)
        assert not second.is_set()

    asyncio.run(main())


def test_a_terminal_that_is_closed_sets_the_event():
    """The terminal of a new session is a pseudo terminal; closing its other end hangs it up."""
    program = CLOSED
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", program, os.ttyname(theirs)], stdout=subprocess.PIPE, start_new_session=True, text=True
    )
    os.close(theirs)
    assert process.stdout.readline() == "ready\n"
    os.close(ours)
    assert process.communicate(timeout=60)[0] == "stopped\n"


@pytest.mark.parametrize(
    ("first", "second", "code"), [("SIGTERM", "SIGTERM", 130), ("SIGINT", "SIGTERM", 130), ("SIGTERM", "SIGHUP", 0)]
)
def test_a_second_signal_ends_the_process_at_once_except_sighup(first, second, code):
    program = TWICE.format(first=first, second=second)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "" if code else "look\nstill here\n"), done.stderr


def test_objects_made_before_serving_are_left_out_of_collections():
    thresholds = gc.get_threshold()
    try:
        tune_garbage_collector()
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold() != thresholds
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)


def test_the_switch_interval_is_shorter_than_pythons():
    before = sys.getswitchinterval()
    try:
        shorten_switch_interval()
        assert sys.getswitchinterval() < before
    finally:
        sys.setswitchinterval(before)
