"""Calls whose message does not arrive."""

import asyncio
import contextlib

import grpc
import pytest

from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.rpc import arrivals as arrivals_module
from anomaly_vae.service.rpc.arrivals import Arrivals
from anomaly_vae.service.rpc.scoring_servicer import SERVICE
from tests.support.contexts import settle
from tests.support.data import make_rows
from tests.support.running import assert_same_bits, eventually, running, score, tensor
from tests.support.wire import Http2, framed

ABORTED = 10


async def until_cancelled(arrivals, allowed):
    allowed.append(arrivals.may_wait())
    await asyncio.Event().wait()


def test_grpc_waits_for_some_calls_and_for_others_when_those_have_arrived_or_ended(monkeypatch):
    monkeypatch.setattr(arrivals_module, "_MOST_UNLIMITED", 2)

    async def scenario():
        arrivals, allowed = Arrivals(60.0), []

        async def arrives():
            allowed.append(arrivals.may_wait())
            arrivals.has_arrived()
            await asyncio.Event().wait()

        tasks = [asyncio.create_task(work) for work in (until_cancelled(arrivals, allowed), arrives())]
        await settle()
        tasks += [asyncio.create_task(until_cancelled(arrivals, allowed)) for _ in range(2)]
        await settle()
        assert allowed == [True, True, True, False]
        tasks[0].cancel()
        await settle()
        tasks.append(asyncio.create_task(until_cancelled(arrivals, allowed)))
        await settle()
        assert allowed[4:] == [True]
        for task in tasks:
            task.cancel()

    asyncio.run(scenario())


def test_only_late_messages_are_given_up(monkeypatch):
    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(arrivals_module, "time", clock)

    async def scenario():
        arrivals, allowed = Arrivals(0.0), []
        late = asyncio.create_task(until_cancelled(arrivals, allowed))
        await settle()
        clock.now += 1.0
        early = asyncio.create_task(until_cancelled(arrivals, allowed))
        await settle()
        watching = asyncio.create_task(arrivals.cancel_late())
        await settle()
        assert (late.cancelled(), early.done()) == (True, False)
        early.cancel()
        watching.cancel()

    asyncio.run(scenario())


class Reads:
    """A context whose message is a value, or never comes."""

    def __init__(self, data=None):
        self.data = data

    async def read(self):
        if self.data is None:
            await asyncio.Event().wait()
        return self.data


def test_a_message_is_read_within_the_time():
    async def read(context, seconds):
        return await Arrivals(seconds).read(context)

    assert asyncio.run(read(Reads(b"abc"), 60.0)) == b"abc"
    with pytest.raises(CallError, match=r"the request did not arrive within 0\.01 s; send it again") as error:
        asyncio.run(read(Reads(), 0.01))
    assert error.value.code is grpc.StatusCode.ABORTED
    with pytest.raises(CallError, match="is missing: the call ended without a message"):
        asyncio.run(read(Reads(grpc.aio.EOF), 60.0))


def test_calls_that_never_send_their_message_end_and_others_are_answered_meanwhile(model_path, scorer):
    """More than gRPC waits for: these are ended with a status, and a call with a message is answered like any other."""
    rows, most = make_rows(3, seed=1), arrivals_module._MOST_UNLIMITED
    with running(model_path, "--stream-idle", 2) as service, contextlib.ExitStack() as stack:
        http = stack.enter_context(Http2(service.port))
        http.settle()
        silent = [http.open() for _ in range(most + 3)]
        http.open("/grpc.health.v1.Health/Watch")
        http.flush()
        started = {"grpc_method": "Score", "grpc_service": SERVICE}
        with service.channel() as channel:
            for _ in range(3):
                assert_same_bits(score(channel, tensor=tensor(rows)), scorer.score(rows))
        assert http.status_of(silent[-1])[0] == ABORTED
        eventually(lambda: service.metric("grpc_server_handled_total", grpc_code="Aborted") == 4)
        assert service.metric("grpc_server_started_total", **started) == 3 + 3
        other = stack.enter_context(Http2(service.port))
        other.settle()
        late = other.open()
        other.flush()
        other.send(late, framed(pb.ScoreRequest(tensor=tensor(rows)).SerializeToString()))
        other.flush()
        assert other.status_of(late)[0] == 0
