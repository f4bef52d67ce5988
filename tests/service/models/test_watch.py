"""Looks for versions at intervals, and when told to."""

import asyncio
import logging
import math

import pytest

from anomaly_vae.errors import BundleError
from anomaly_vae.service.models.watch import ModelWatch


class FakeRepository:
    """Fails as often as it is told to."""

    def __init__(self, failures=()):
        self.looks, self.failures, self.looked = [], list(failures), asyncio.Event()

    async def refresh(self, by):
        self.looks.append(by)
        self.looked.set()
        if self.failures:
            raise self.failures.pop(0)


def on_watch(scenario, seconds, failures=()):
    async def run():
        repository = FakeRepository(failures)
        watch = ModelWatch(repository, seconds)
        task = asyncio.create_task(watch.run())
        try:
            await asyncio.wait_for(scenario(watch, repository), 60)
        finally:
            task.cancel()

    asyncio.run(run())


async def look(repository):
    repository.looked.clear()
    await repository.looked.wait()
    await asyncio.sleep(0)


def test_it_looks_again_and_again():
    async def scenario(_watch, repository):
        for _ in range(3):
            await look(repository)
        assert repository.looks == ["poll"] * 3

    on_watch(scenario, 0.001)


def test_without_an_interval_it_looks_only_when_told_to():
    async def scenario(watch, repository):
        watch.look_now()
        await look(repository)
        assert repository.looks == ["signal"]

    on_watch(scenario, math.inf)


@pytest.mark.parametrize("unexpected", [False, True])
def test_a_failure_is_logged_once_and_so_is_its_end(caplog, unexpected):
    error = ValueError("details") if unexpected else BundleError("models: no model there")

    async def scenario(_watch, repository):
        while len(repository.looks) < 5:
            await look(repository)

    with caplog.at_level(logging.INFO, "anomaly_vae.service"):
        on_watch(scenario, 0.001, [error, error, error])
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 2
    assert "the models that were loaded before are served on" in texts[0]
    assert texts[1] == "the place of the models can be read again"
