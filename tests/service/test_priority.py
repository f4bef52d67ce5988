"""Threads that compute let others go first."""

import contextlib
import os
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from anomaly_vae.service.priority import give_way
from tests.service.running import running

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux knows the niceness of a thread")


def niceness_of_a_thread_after(by):
    found = []

    def run():
        give_way(by)
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize("by", [0, 3, 19])
def test_a_thread_is_nicer_by_so_much_and_the_others_are_not(by):
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert niceness_of_a_thread_after(by) == min(own + by, 19)
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own


def test_the_threads_of_a_service_that_compute_are_nice_and_no_other(model_path):
    own, found = os.getpriority(os.PRIO_PROCESS, 0), Counter()
    with running(model_path, "--threads", 2, "--nice", 7) as service:
        for path in Path(f"/proc/{service.process.pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):  # a thread of gRPC's that has just ended
                found[os.getpriority(os.PRIO_PROCESS, int(path.name))] += 1
    assert found.keys() == {own, own + 7}
    assert found[own + 7] == 3  # one of them is a spare one; the one for short requests is not nice


def test_nobody_is_nice_where_that_is_asked_for(model_path):
    own = os.getpriority(os.PRIO_PROCESS, 0)
    with running(model_path, "--nice", 0) as service:
        for path in Path(f"/proc/{service.process.pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                assert os.getpriority(os.PRIO_PROCESS, int(path.name)) == own
