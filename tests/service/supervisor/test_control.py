"""A worker's end of the connection; tests/service/supervisor/test_fleet.py has both ends."""

import subprocess
import sys

PROGRAM = """
import asyncio, socket, sys, time
from prometheus_client import CollectorRegistry
from anomaly_vae.service.http.heartbeat import Heartbeat
from anomaly_vae.service.supervisor import control

ours, theirs = socket.socketpair()
{settings}
worker = control.Control(theirs)
{early}

async def main():
    stop = asyncio.Event()
    worker.attach(CollectorRegistry(), Heartbeat(asyncio.get_running_loop()), stop.set, 0.0)
    {then}
    await stop.wait()
    print("drained")

asyncio.run(main())
"""


def run(then="pass", settings="", early=""):
    program = PROGRAM.format(then=then, settings=settings, early=early)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


def test_a_worker_drains_when_its_supervisor_is_gone():
    done = run("ours.close()")
    assert (done.returncode, done.stdout) == (0, "drained\n"), done.stderr


def test_a_worker_that_cannot_drain_ends_when_its_supervisor_is_gone():
    done = run("ours.close(); time.sleep(3_600)", settings="control._BEYOND_GRACE_S = 0.1")
    assert (done.returncode, done.stdout) == (1, ""), done.stderr


def test_a_worker_drains_whose_supervisor_was_gone_before_its_service_was_made():
    done = run(early="ours.close()\nwhile not worker._stopping: time.sleep(0.01)")
    assert (done.returncode, done.stdout) == (0, "drained\n"), done.stderr
