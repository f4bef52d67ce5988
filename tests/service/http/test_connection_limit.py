"""A limit on connections always admits a new one."""

import asyncio
import contextlib

import pytest

from anomaly_vae.service.http.connection_limit import ConnectionLimit


class Crowd:
    """Tasks that hold a connection until they are cancelled."""

    def __init__(self, limit):
        self.limit = ConnectionLimit(limit)
        self.holding = []
        self.tasks = {}

    async def add(self, name, address):
        async def hold():
            with contextlib.suppress(asyncio.CancelledError), self.limit.hold(address):
                self.holding.append(name)
                await asyncio.Event().wait()
            if name in self.holding:
                self.holding.remove(name)

        self.tasks[name] = asyncio.create_task(hold())
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def remove(self, name):
        self.tasks[name].cancel()
        await self.tasks[name]


def after(limit, arrivals, leaving=()):
    async def scenario():
        crowd = Crowd(limit)
        for name, address in arrivals:
            await crowd.add(name, address)
            if name in leaving:
                await crowd.remove(name)
        held = list(crowd.holding)
        for name in held:
            await crowd.remove(name)
        return held

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("arrivals", "held"),
    [
        (["a1", "a2", "a3"], ["a1", "a2", "a3"]),
        (["a1", "a2", "a3", "a4", "a5"], ["a3", "a4", "a5"]),
        (["b1", "a1", "a2", "a3", "a4"], ["b1", "a3", "a4"]),
        (["a1", "a2", "b1", "b2", "b3"], ["a2", "b2", "b3"]),
        (["a1", "b1", "c1", "d1"], ["b1", "c1", "d1"]),
    ],
    ids=["room", "one address", "a crowd and one", "two crowds", "all alone"],
)
def test_a_new_connection_replaces_the_oldest_of_the_address_with_the_most(arrivals, held):
    assert after(3, [(name, name[0]) for name in arrivals]) == held


def test_a_closed_connection_frees_its_place():
    assert after(2, [("a1", "a"), ("a2", "a"), ("a3", "a")], leaving=["a2"]) == ["a1", "a3"]


def test_a_replaced_connection_is_not_released_twice():
    """Otherwise the limit would grow with every new connection."""
    assert after(2, [(f"a{j}", "a") for j in range(50)]) == ["a48", "a49"]
