"""All workers together, with stubs in place of the service."""

import asyncio
import os
import signal

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from anomaly_vae.service.peers import Answer
from tests.support.fleets import until, use_stub_workers, working


@pytest.fixture(autouse=True)
def stubs(monkeypatch):
    use_stub_workers(monkeypatch)


def page_of(fleet):
    registry = CollectorRegistry()
    registry.register(fleet)
    registry.register(fleet.metrics)
    return generate_latest(registry).decode().splitlines()


def test_counters_survive_workers_and_the_metrics_show_who_is_up():
    async def main():
        async with working(2) as fleet:
            for worker, calls in ((0, 3), (1, 4)):
                await fleet.keepers[worker].process.request("count", {"calls": calls})
            page = await asyncio.to_thread(page_of, fleet)
            assert {"calls_total 7.0", "anomaly_vae_workers 2.0", 'anomaly_vae_worker_up{worker="1"} 1.0'} <= {*page}
            former = fleet.keepers[1].process
            os.kill(former.pid, signal.SIGKILL)
            await until(lambda: former not in fleet.processes and fleet.keepers[1].is_ready)
            await fleet.keepers[1].process.request("count", {"calls": 10})
            page = await asyncio.to_thread(page_of, fleet)
            assert {"calls_total 17.0", 'anomaly_vae_worker_restarts_total{worker="1"} 1.0'} <= {*page}

    asyncio.run(main())


def test_of_a_worker_that_is_stuck_the_last_values_are_shown(monkeypatch):
    monkeypatch.setattr("anomaly_vae.service.supervisor.fleet._SNAPSHOT_S", 0.05)

    async def main():
        async with working(2) as fleet:
            await fleet.keepers[0].process.request("count", {"calls": 3})
            await asyncio.to_thread(page_of, fleet)
            os.kill(fleet.keepers[0].process.pid, signal.SIGSTOP)
            await fleet.keepers[1].process.request("count", {"calls": 4})
            monkeypatch.setattr("anomaly_vae.service.supervisor.fleet._SNAPSHOT_S", 1.0)
            assert "calls_total 7.0" in await asyncio.to_thread(page_of, fleet)

    asyncio.run(main())


def test_a_message_reaches_all_workers_and_those_that_start_later():
    async def main():
        async with working(2, refused={"1": ["bad"]}) as fleet:
            answers = await fleet.keepers[0].process.request(
                "act", {"act": {"kind": "load", "content": {"name": "fraud"}}}
            )
            assert answers == [[0, ["fraud"], ""], [1, ["fraud"], ""]]
            assert (await fleet.broadcast("load", {"name": "bad"}))[1] == Answer(1, None, "bad is damaged")
            former = fleet.keepers[0].process
            os.kill(former.pid, signal.SIGKILL)
            await until(lambda: fleet.keepers[0].process is not former and fleet.keepers[0].is_ready)
            assert (await fleet.broadcast("load", {"name": "more"}))[0].value == ["fraud", "bad", "more"]
            assert await fleet.keepers[1].replace()
            assert (await fleet.broadcast("load", {"name": "last"}))[1].value == ["fraud", "more", "last"]

    asyncio.run(main())


def test_a_worker_that_dies_of_a_message_answers_with_an_error():
    async def main():
        async with working(2) as fleet:
            answers = await fleet.broadcast("act", {"act": "die"})
            assert {answer.error for answer in answers} == {"the process has ended"}

    asyncio.run(main())


def test_an_unloading_is_not_repeated_after_a_load_that_failed_everywhere():
    """The failed load has ended the unloading: an older version may be served, as a new worker does by itself."""

    async def main():
        async with working(2, refused={"0": ["fraud"], "1": ["fraud"]}) as fleet:
            fleet._repeated["fraud"] = "unload", {"name": "fraud"}
            assert all(answer.error for answer in await fleet.broadcast("load", {"name": "fraud"}))
            assert fleet._repeated == {}

    asyncio.run(main())
