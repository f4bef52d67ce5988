"""Restarts and replacements of one worker, with a stub in place of the service."""

import asyncio
import os
import signal

import pytest

from anomaly_vae.service.supervisor import backoff
from anomaly_vae.service.supervisor.keeper import Keeper
from tests.support.fleets import until, use_stub_workers, working


@pytest.fixture(autouse=True)
def stubs(monkeypatch):
    use_stub_workers(monkeypatch)


def test_a_dead_worker_is_started_again_and_the_log_says_so(caplog):
    async def main():
        async with working(1) as fleet:
            keeper = fleet.keepers[0]
            former = keeper.process
            os.kill(former.pid, signal.SIGKILL)
            await until(lambda: keeper.is_ready and keeper.process is not former)
            assert keeper.restarts == 1

    asyncio.run(main())
    assert "worker 0 ended by SIGKILL; it is started again in 0 s" in caplog.text


def test_a_worker_that_fails_again_and_again_waits_longer_each_time(monkeypatch, caplog):
    monkeypatch.setattr(backoff, "_FIRST_S", 0.01)

    async def main():
        async with working(1) as fleet:
            fleet.config = {"failing": [0]}
            os.kill(fleet.keepers[0].process.pid, signal.SIGKILL)
            await until(lambda: "again in 0.04 s" in caplog.text)

    asyncio.run(main())
    texts = [record.getMessage() for record in caplog.records]
    failed = "worker 0 failed: the bundle is damaged; "
    assert texts[:4] == [
        "worker 0 ended by SIGKILL; it is started again in 0 s, the others serve on",
        f"{failed}it is started again in 0.01 s, the others serve on",
        f"{failed}again and again; it is started again in 0.02 s, the others serve on",
        f"{failed}again and again; it is started again in 0.04 s, the others serve on",
    ]


def test_a_replaced_worker_serves_until_the_new_process_is_ready():
    async def main():
        async with working(1) as fleet:
            keeper = fleet.keepers[0]
            former = keeper.process
            assert await keeper.replace()
            assert former.returncode == 0
            assert keeper.is_ready
            assert keeper.process is not former
            assert keeper.restarts == 0
            os.kill(keeper.process.pid, signal.SIGKILL)  # the new process is kept running as well
            await until(lambda: keeper.restarts == 1 and keeper.is_ready)

    asyncio.run(main())


def test_a_worker_whose_replacement_fails_serves_on(caplog):
    async def main():
        async with working(1) as fleet:
            keeper = fleet.keepers[0]
            former = keeper.process
            fleet.config = {"failing": [0]}
            assert not await keeper.replace()
            assert keeper.process is former
            assert keeper.is_ready

    asyncio.run(main())
    assert "worker 0 is not replaced, the new process failed: the bundle is damaged" in caplog.text


def test_a_system_without_room_for_a_process_is_tried_again(monkeypatch, caplog):
    async def main():
        tries = []

        async def launch(worker):
            tries.append(worker)
            if len(tries) < 2:
                raise OSError("no more processes")
            return Forever()

        keeper = Keeper(5, launch)
        keeping = asyncio.create_task(keeper.keep())
        await until(lambda: isinstance(keeper.process, Forever))
        keeping.cancel()
        assert tries == [5, 5]

    class Forever:
        is_ready = True

        async def ended(self):
            await asyncio.Event().wait()

    asyncio.run(main())
    assert "worker 5 cannot start: no more processes" in caplog.text
