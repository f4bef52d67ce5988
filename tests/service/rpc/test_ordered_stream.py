"""ScoreStream: replies in order, back-pressure in place of refusals, and no lost reply when the service stops."""

import asyncio
import signal
import threading
import time

import grpc
import numpy as np
import pytest

from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub
from anomaly_vae.service.rpc.ordered_stream import Interrupted, in_order
from tests.support.data import make_rows
from tests.support.running import assert_same_bits, running, tensor


def requests_for(rows, sizes):
    starts = np.cumsum([0, *sizes])
    return [
        pb.ScoreRequest(tensor=tensor(rows[start : start + size]), request_id=str(i))
        for i, (start, size) in enumerate(zip(starts, sizes, strict=False))
    ]


def test_replies_come_in_order_with_the_bits_of_single_calls(channel, scorer):
    """Large and small requests alternate: a small one is computed before the large one ahead of it."""
    rows, sizes = make_rows(500, seed=5), [200, 1, 150, 2, 100, 1, 1, 45]
    replies = list(ScoringServiceStub(channel).ScoreStream(iter(requests_for(rows, sizes)), timeout=60))
    assert [reply.request_id for reply in replies] == [str(i) for i in range(len(sizes))]
    start = 0
    for reply, size in zip(replies, sizes, strict=True):
        assert_same_bits(reply, scorer.score(rows[start : start + size]))
        start += size


def test_a_reply_comes_before_the_next_request_is_written(channel, scorer):
    """A client may wait for each reply before its next request."""
    rows = make_rows(3, seed=6)
    ready = threading.Semaphore(1)

    def one_by_one():
        for request in requests_for(rows, [1, 1, 1]):
            assert ready.acquire(timeout=20)
            yield request

    for i, reply in enumerate(ScoringServiceStub(channel).ScoreStream(one_by_one(), timeout=60)):
        assert_same_bits(reply, scorer.score(rows[i : i + 1]))
        ready.release()


def test_the_first_bad_request_ends_it_after_the_replies_before(channel):
    requests = [*requests_for(make_rows(3), [2, 1]), pb.ScoreRequest(request_id="bad")]
    requests += requests_for(make_rows(1), [1])
    call = ScoringServiceStub(channel).ScoreStream(iter(requests), timeout=60)
    assert [next(call).request_id, next(call).request_id] == ["0", "1"]
    with pytest.raises(grpc.RpcError) as error:
        next(call)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "rows: the request has no rows" in error.value.details()


def test_a_full_queue_delays_a_stream_and_refuses_nothing(model_path, scorer):
    """Ten requests of 64 rows through a queue of 64 rows, which would refuse single calls."""
    rows = make_rows(640, seed=7)
    with running(model_path, "--max-queue-rows", 64, "--max-rows", 64) as service, service.channel() as channel:
        replies = list(ScoringServiceStub(channel).ScoreStream(iter(requests_for(rows, [64] * 10)), timeout=120))
        assert service.metric("anomaly_vae_rejected_total", reason="queue_full") == 0
        assert service.metric("grpc_server_handled_total", grpc_method="ScoreStream", grpc_code="OK") == 1
    expected = scorer.score(rows)
    assert np.concatenate([reply.log_px for reply in replies]).tobytes() == expected.log_px.tobytes()


def test_a_request_over_the_limit_is_refused_and_does_not_wait_for_room(model_path):
    with running(model_path, "--max-queue-rows", 64, "--max-rows", 64) as service, service.channel() as channel:
        call = ScoringServiceStub(channel).ScoreStream(iter(requests_for(make_rows(100), [100])), timeout=20)
        with pytest.raises(grpc.RpcError) as error:
            next(call)
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "has 100 rows, a request may have 1 to 64" in error.value.details()


def test_requests_of_a_client_that_reads_no_replies_are_not_read(service):
    """It writes without end; the service reads four requests, and gRPC's flow control stops the rest."""
    request = requests_for(make_rows(200, seed=8), [200])[0]
    written = 0

    async def scenario():
        nonlocal written
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(service.target, options) as channel:
            call = ScoringServiceStub(channel).ScoreStream(timeout=60)
            memory = service.metric("process_resident_memory_bytes")
            try:
                while written < 20_000:
                    await asyncio.wait_for(call.write(request), 5)
                    written += 1
            except TimeoutError:
                pass
            grown = service.metric("process_resident_memory_bytes") - memory
            queued = service.metric("anomaly_vae_queue_rows")
            call.cancel()
            return grown, queued

    grown, queued = asyncio.run(scenario())
    assert written < 20_000
    assert queued <= 4 * 200
    assert grown < 50e6


def test_all_requests_read_before_the_service_drains_are_answered(model_path, scorer):
    rows = make_rows(2_000, seed=9)
    with running(model_path) as service, service.channel() as channel:
        stop = threading.Event()

        def endless():
            yield from requests_for(rows, [20] * 100)
            stop.wait(30)

        call = ScoringServiceStub(channel).ScoreStream(endless(), timeout=60)
        replies = [next(call) for _ in range(3)]
        service.process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as error:
            replies += call
        stop.set()
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "shutting down" in error.value.details()
        assert service.process.wait(10) == 0
    assert [reply.request_id for reply in replies] == [str(i) for i in range(len(replies))]
    scored = np.concatenate([reply.log_px for reply in replies])
    assert scored.tobytes() == scorer.score(rows[: len(scored)]).log_px.tobytes()


def test_an_idle_stream_does_not_delay_the_end_of_the_service(model_path):
    with running(model_path) as service, service.channel() as channel:
        done = threading.Event()

        def silent():
            yield from requests_for(make_rows(1), [1])
            done.wait(30)

        call = ScoringServiceStub(channel).ScoreStream(silent(), timeout=60)
        next(call)
        start = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - start < 4
        done.set()
        assert call.code() is grpc.StatusCode.UNAVAILABLE


class TestInOrder:
    def run(self, scenario):
        return asyncio.run(asyncio.wait_for(scenario, 10))

    def test_at_most_four_requests_are_open(self):
        under_way, most = 0, 0

        async def answer(data):
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.001)
            under_way -= 1
            return data

        async def requests():
            for i in range(50):
                yield bytes([i])

        async def scenario():
            return [reply async for reply in in_order(requests(), answer, asyncio.Event())]

        assert self.run(scenario()) == [bytes([i]) for i in range(50)]
        assert most == 4

    def test_requests_that_were_read_are_answered_before_it_is_interrupted(self):
        async def scenario():
            stop, replies = asyncio.Event(), []

            async def answer(data):
                await asyncio.sleep(0.01)
                return data

            async def requests():
                yield b"1"
                yield b"2"
                await asyncio.Event().wait()

            async def read():
                async for reply in in_order(requests(), answer, stop):
                    replies.append(reply)
                    stop.set()

            with pytest.raises(Interrupted):
                await read()
            return replies

        assert self.run(scenario()) == [b"1", b"2"]

    def test_a_reading_error_is_raised_and_leaves_no_task_behind(self):
        async def scenario():
            async def requests():
                yield b"1"
                raise OSError("gone")

            async def answer(data):
                return data

            with pytest.raises(OSError, match="gone"):
                _ = [reply async for reply in in_order(requests(), answer, asyncio.Event())]
            return len(asyncio.all_tasks())

        assert self.run(scenario()) <= 2
