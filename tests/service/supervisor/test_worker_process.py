"""One process of a worker, with a stub in place of the service."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from anomaly_vae.service.supervisor import worker_process
from anomaly_vae.service.supervisor.channel import ChannelError
from anomaly_vae.service.supervisor.worker_process import WorkerProcess, end_of
from tests.support.fleets import until, use_stub_workers, working


@pytest.fixture(autouse=True)
def stubs(monkeypatch):
    use_stub_workers(monkeypatch)


def test_a_process_gets_ready_and_ends_when_it_is_asked_to():
    async def main():
        async with working(1) as fleet:
            process = fleet.keepers[0].process
            assert (process.is_ready, process.kinds) == (True, ["act", "announce", "count", "load"])
            await process.request("count", {"calls": 3})
            ended = asyncio.create_task(process.ended())
            await process.drain()
            assert not process.is_ready
            assert await ended == 0
            await until(lambda: fleet.keepers[0].is_ready)
            assert fleet.keepers[0].process.pid != process.pid

    asyncio.run(main())


def test_a_process_that_fails_says_why():
    async def main():
        async with working(1, failing=[0]) as fleet:
            process = fleet.keepers[0].process
            assert process.failure == ("the bundle is damaged", 3)
            assert (process.is_ready, process.served_s) == (False, 0.0)

    asyncio.run(main())


def test_a_process_whose_loop_is_stuck_is_killed(monkeypatch, caplog):
    """Its control thread still answers, and says that the loop does not."""
    monkeypatch.setattr(worker_process, "_FAILED_CHECKS", 1)
    monkeypatch.setattr(worker_process, "_BETWEEN_CHECKS_S", 0.01)

    async def main():
        async with working(1) as fleet:
            process = fleet.keepers[0].process
            hanging = asyncio.create_task(process.request("act", {"act": "hang"}))
            assert await process.ended() == -signal.SIGKILL
            await asyncio.gather(hanging, return_exceptions=True)

    asyncio.run(main())
    assert "worker 0 does not answer; it is killed" in caplog.text


def test_a_process_that_is_stopped_does_not_answer():
    async def main():
        async with working(1) as fleet:
            process = fleet.keepers[0].process
            os.kill(process.pid, signal.SIGSTOP)
            with pytest.raises(ChannelError, match="no answer"):
                await process.request("check", seconds=0.1)

    asyncio.run(main())


def test_before_its_start_a_process_takes_no_request():
    async def main():
        process = WorkerProcess(0, 0, None)
        with pytest.raises(ChannelError, match="not started"):
            await process.request("check")
        process.kill()
        assert (process.returncode, process.is_open, process.pid) == (None, False, 0)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("code", "text"),
    [(0, "with code 0"), (3, "with code 3"), (-9, "by SIGKILL"), (-64, "by SIGRTMAX"), (-99, "by signal 99")],
)
def test_an_end_is_described(code, text):
    assert end_of(code) == text


@pytest.mark.parametrize(
    ("first", "safe"), [("", False), (str(Path.cwd()), False), ("/usr/bin", True)], ids=["interactive", "-m", "script"]
)
def test_a_worker_imports_from_the_current_folder_only_if_its_supervisor_does(monkeypatch, first, safe):
    monkeypatch.setattr(sys, "path", [first, *sys.path])
    assert ("-P" in worker_process._interpreter_options()) is safe
