"""The calls in progress: how many there may be, and their end."""

import asyncio

import grpc
import pytest

from anomaly_vae.service.rpc import open_calls as open_calls_module
from anomaly_vae.service.rpc.open_calls import OpenCalls
from anomaly_vae.service.telemetry.metrics import Metrics
from tests.support.contexts import Context, settle


def open_calls(limit=4):
    return OpenCalls(limit, Metrics(1, 1))


def test_a_call_counts_until_its_context_is_done():
    calls, context = open_calls(), Context()
    assert calls.admit(context) is None
    assert calls.unfinished == 1
    context.end()
    assert calls.unfinished == 0


def test_a_call_too_many_is_refused_counted_and_does_not_count_itself():
    metrics = Metrics(1, 1)
    calls = OpenCalls(4, metrics)
    contexts = [Context(peer=f"ipv4:127.0.0.{i}:1") for i in range(5)]
    assert [calls.admit(context) for context in contexts[:4]] == [None] * 4
    error = calls.admit(contexts[4])
    assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.text == "4 calls are under way, at most 4 may; send it again later"
    assert error.retry_after == 0.1
    assert metrics.registry.get_sample_value("anomaly_vae_rejected_total", {"reason": "queue_full"}) == 1
    contexts[4].end()
    assert calls.unfinished == 4
    assert calls.admit(contexts[4], always=True) is None  # a probe
    assert calls.unfinished == 5


def test_one_caller_leaves_calls_for_others():
    """A caller alone may have a quarter of the limit, then what is left of the shared half."""
    calls = open_calls(8)
    assert [calls.admit(Context(peer="greedy")) is None for _ in range(3)] == [True, True, False]
    assert calls.admit(Context(peer="modest")) is None


def test_the_drain_waits_for_the_last_call():
    async def scenario():
        calls, contexts = open_calls(), [Context(peer="a"), Context(peer="b")]
        await asyncio.wait_for(calls.wait_until_answered(), 10)  # there is none yet
        for context in contexts:
            calls.admit(context)
        waiting = asyncio.create_task(calls.wait_until_answered())
        contexts[0].end()
        await asyncio.sleep(0)
        assert not waiting.done()
        contexts[1].end()
        await asyncio.wait_for(waiting, 10)

    asyncio.run(scenario())


def test_peers_have_a_call_until_their_last_one_ends():
    calls = open_calls()
    with calls.from_peer("a"):
        with calls.from_peer("a"), calls.from_peer("b"):
            assert set(calls.peers) == {"a", "b"}
        assert set(calls.peers) == {"a"}
    assert set(calls.peers) == set()


async def forever(block):
    with block():
        await asyncio.Event().wait()


def test_streams_that_are_left_are_cancelled_and_others_are_not():
    async def scenario():
        calls = open_calls()
        stream = asyncio.create_task(forever(calls.as_stream))
        call = asyncio.create_task(forever(lambda: calls.from_peer("a")))
        await asyncio.sleep(0)
        assert not calls.is_ending
        calls.end_streams()
        await asyncio.wait([stream], timeout=10)
        assert calls.is_ending
        assert stream.cancelled()
        assert not call.done()
        call.cancel()

    asyncio.run(scenario())


class Clock:
    """A clock that is moved by hand."""

    now = 100.0

    def monotonic(self):
        return self.now


@pytest.mark.parametrize(("is_read", "has_replied"), [(True, True), (False, True), (False, False)])
def test_only_a_reply_that_is_not_read_in_time_is_cancelled(monkeypatch, is_read, has_replied):
    """Otherwise the call would count towards the limit until its client reads. A reply may take longer to compute."""
    clock = Clock()
    monkeypatch.setattr(open_calls_module, "time", clock)

    async def scenario():
        calls, context = open_calls(), Context()
        calls.admit(context)

        async def call():
            if has_replied:
                calls.mark_replied(context)
            await asyncio.Event().wait()  # gRPC waits for room in the connection, or the rows are computed

        task, watching = asyncio.create_task(call()), asyncio.create_task(calls.cancel_unread_replies(0.0))
        await settle()
        assert not task.done()
        if is_read:
            context.end()
        clock.now += 1.0
        await settle()
        cancelled = task.cancelled()
        task.cancel()
        watching.cancel()
        return cancelled

    assert asyncio.run(scenario()) is (has_replied and not is_read)
