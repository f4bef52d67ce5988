"""Workers that serve nothing, for tests of their supervision."""

import asyncio
import contextlib
import os
from pathlib import Path

from prometheus_client import CollectorRegistry

from anomaly_vae.service.supervisor import worker_process
from anomaly_vae.service.supervisor.fleet import Fleet
from anomaly_vae.service.supervisor.keeper import is_ready_or_ended
from tests.support.stub_worker import MODULE

__all__ = ["until", "use_stub_workers", "working"]

ROOT = Path(__file__).parents[2]


def use_stub_workers(monkeypatch):
    """Let the supervisor start stubs."""
    monkeypatch.setattr(worker_process, "_MODULE", MODULE)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@contextlib.asynccontextmanager
async def working(num_workers=2, **config):
    """Run a fleet of stubs, all ready unless they fail, and kill what is left of it."""
    lock = os.memfd_create("lock")
    fleet = Fleet(num_workers, lock, CollectorRegistry())
    fleet.config = config
    tasks = []
    try:
        processes = [await keeper.start() for keeper in fleet.keepers]
        for process in processes:
            await is_ready_or_ended(process)
        tasks = [asyncio.create_task(keeper.keep()) for keeper in fleet.keepers]
        yield fleet
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        ends = [process.ended() for process in fleet.processes]
        for process in fleet.processes:
            process.kill()
        await asyncio.gather(*ends)
        os.close(lock)


async def until(condition, seconds=20):
    """Wait for a condition."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
