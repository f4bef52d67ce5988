"""grpc.health.v1 without a network: the status of the services, and those who watch it."""

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2 import HealthCheckRequest

from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.rpc.health import HEALTH, Health
from tests.support.contexts import Context, settle
from tests.support.running import SERVING

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
NAMES = ("", "a.Scoring", "b.Inference")


async def statuses(health):
    return {name: (await health.Check(HealthCheckRequest(service=name), Context())).status for name in NAMES}


def test_it_is_the_service_that_the_protocol_names():
    assert HEALTH == "grpc.health.v1.Health"


def test_all_services_and_the_server_have_one_status():
    async def scenario():
        health = Health(NAMES[1:])
        assert await statuses(health) == dict.fromkeys(NAMES, NOT_SERVING)
        health.set_serving(True)
        assert await statuses(health) == dict.fromkeys(NAMES, SERVING)
        health.set_serving(False)
        assert await statuses(health) == dict.fromkeys(NAMES, NOT_SERVING)

    asyncio.run(scenario())


def test_an_unknown_service_is_not_found_by_a_check():
    with pytest.raises(CallError, match=r"known: '', 'a\.Scoring', 'b\.Inference'") as error:
        asyncio.run(Health(NAMES[1:]).Check(HealthCheckRequest(service="c"), Context()))
    assert (error.value.code, error.value.field) == (grpc.StatusCode.NOT_FOUND, "service")


async def watching(health, name, context=None):
    """Return the context of a new watch, and its task, once it has sent the first status."""
    context = context or Context()
    task = asyncio.create_task(health.Watch(HealthCheckRequest(service=name), context))
    await settle()
    return context, task


def sent(context):
    return [message.status for message in context.written]


def test_a_watcher_gets_the_status_now_and_each_change_once():
    async def scenario():
        health = Health(NAMES[1:])
        context, task = await watching(health, "a.Scoring")
        assert sent(context) == [NOT_SERVING]
        for serving in (False, True, True, False):  # the first and the third change nothing
            health.set_serving(serving)
            await settle()
        assert sent(context) == [NOT_SERVING, SERVING, NOT_SERVING]
        assert not task.done()
        task.cancel()

    asyncio.run(scenario())


def test_a_watcher_of_an_unknown_service_gets_that_status_and_waits():
    """As the protocol asks: the service may be added later."""

    async def scenario():
        health = Health(NAMES[1:])
        context, task = await watching(health, "c")
        health.set_serving(True)
        await settle()
        assert sent(context) == [UNKNOWN]
        assert not task.done()
        task.cancel()

    asyncio.run(scenario())


def test_a_watcher_that_does_not_read_misses_only_changes_that_are_over():
    """Its write does not return; the others see every change, and it gets the last status once it reads."""

    class Blocked(Context):
        go = None

        async def write(self, message):
            await super().write(message)
            await self.go.wait()

    async def scenario():
        health, blocked = Health(NAMES[1:]), Blocked()
        blocked.go = asyncio.Event()
        _, slow = await watching(health, "", blocked)
        context, quick = await watching(health, "")
        for serving in (True, False, True):
            health.set_serving(serving)
            await settle()
        assert sent(context) == [NOT_SERVING, SERVING, NOT_SERVING, SERVING]
        assert sent(blocked) == [NOT_SERVING]
        blocked.go.set()
        await settle()
        assert sent(blocked) == [NOT_SERVING, SERVING]
        slow.cancel()
        quick.cancel()

    asyncio.run(scenario())
