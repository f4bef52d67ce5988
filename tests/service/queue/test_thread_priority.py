"""Compute threads have a lower priority than the event loop."""

import contextlib
import os
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from anomaly_vae.service.queue.thread_priority import lower_priority
from tests.support.running import running

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a nice value for each thread")


def nice_value_after(by):
    found = []

    def run():
        lower_priority(by)
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize("by", [0, 3, 19])
def test_only_the_calling_thread_gets_a_higher_nice_value(by):
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert nice_value_after(by) == min(own + by, 19)
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own


def test_only_the_compute_threads_of_a_service_have_a_higher_nice_value(model_path):
    own, found = os.getpriority(os.PRIO_PROCESS, 0), Counter()
    with running(model_path, "--threads", 2, "--nice", 7) as service:
        for path in Path(f"/proc/{service.process.pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):  # a thread of gRPC that has just ended
                found[os.getpriority(os.PRIO_PROCESS, int(path.name))] += 1
    assert found.keys() == {own, own + 7}
    assert found[own + 7] == 4  # two threads, a spare one and the one that loads models; not the one for short requests


def test_with_nice_0_all_threads_have_the_process_s_nice_value(model_path):
    own = os.getpriority(os.PRIO_PROCESS, 0)
    with running(model_path, "--nice", 0) as service:
        for path in Path(f"/proc/{service.process.pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                assert os.getpriority(os.PRIO_PROCESS, int(path.name)) == own
