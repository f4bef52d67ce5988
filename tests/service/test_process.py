"""Signals and settings of the process; tests/service/test_server.py sends signals to a real one."""

from __future__ import annotations

import asyncio
import gc
import os
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
    set_at_signals(stop)
    for number in (signal.{first}, signal.{second}):
        os.kill(os.getpid(), number)
        await stop.wait()
    for _ in range(10):  # the loop reads the signal in one pass, and calls its handler in another
        await asyncio.sleep(0)
    print("still here")

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_sets_the_event(number):
    async def main():
        stop = asyncio.Event()
        set_at_signals(stop)
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stop.wait(), 60)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("first", "second", "code"), [("SIGTERM", "SIGTERM", 130), ("SIGHUP", "SIGINT", 130), ("SIGHUP", "SIGHUP", 0)]
)
def test_a_second_signal_ends_the_process_at_once_except_sighup(first, second, code):
    """A closing terminal sends SIGHUP twice."""
    program = TWICE.format(first=first, second=second)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "" if code else "still here\n"), done.stderr


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
