"""Streams whose client does nothing."""

import asyncio

import grpc
import pytest

from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub
from anomaly_vae.service.rpc.idle_watch import IdleWatch
from tests.support.callers import QueueOfRequests
from tests.support.contexts import Context, settle
from tests.support.data import make_rows
from tests.support.running import assert_same_bits, fault_of, running, tensor


class Loop:
    """A clock and a timer that are moved by hand."""

    now, due, callback = 100.0, None, None

    def time(self):
        return self.now

    def call_later(self, seconds, callback):
        self.due, self.callback = self.now + seconds, callback
        return self

    def cancel(self):
        self.due = None

    def advance(self, seconds):
        until = self.now + seconds
        while self.due is not None and self.due <= until:
            self.now, self.due = self.due, None
            self.callback()
        self.now = until


class Stream:
    """A watch of 10 s around a task that does nothing else."""

    async def __aenter__(self):
        self.loop, self.requests, self.context = Loop(), asyncio.Queue(), Context()
        self.task = asyncio.create_task(self._watched())
        await settle()
        self.reading = asyncio.create_task(self._read())
        await settle()
        return self

    async def __aexit__(self, *_):
        for task in (self.task, self.reading):
            task.cancel()
        await asyncio.gather(self.task, self.reading, return_exceptions=True)

    async def _watched(self):
        with IdleWatch(10.0, self.loop) as self.watch:
            await asyncio.Event().wait()

    async def _read(self):
        async def messages():
            while True:
                yield await self.requests.get()

        async for _ in self.watch.read(messages()):
            pass

    async def request(self):
        self.requests.put_nowait(b"")
        await settle()

    async def is_ended_after(self, seconds):
        """Return whether the stream is ended after so many seconds, and not a bit earlier."""
        self.loop.advance(seconds - 0.001)
        await settle()
        assert not self.watch.has_expired
        self.loop.advance(0.002)
        await settle()
        assert self.task.cancelled() is self.watch.has_expired
        return self.watch.has_expired


def test_a_client_that_sends_nothing_from_the_start_is_left():
    async def scenario():
        async with Stream() as stream:
            assert await stream.is_ended_after(10.0)

    asyncio.run(scenario())


def test_the_time_begins_again_with_each_reply():
    async def scenario():
        async with Stream() as stream:
            for _ in range(3):
                stream.loop.advance(9.0)
                await stream.request()
                await stream.watch.write(stream.context, b"")
            assert await stream.is_ended_after(10.0)

    asyncio.run(scenario())


def test_the_time_that_the_service_needs_does_not_count():
    async def scenario():
        async with Stream() as stream:
            await stream.request()
            await stream.request()
            await stream.watch.write(stream.context, b"")
            stream.loop.advance(95.0)  # the second is not answered yet
            await settle()
            assert not stream.watch.has_expired
            await stream.watch.write(stream.context, b"")
            assert await stream.is_ended_after(10.0)

    asyncio.run(scenario())


def test_a_client_that_reads_no_reply_is_left():
    async def scenario():
        async with Stream() as stream:

            class Full:
                async def write(self, _reply):
                    await asyncio.Event().wait()

            await stream.request()
            writing = asyncio.create_task(stream.watch.write(Full(), b""))
            await settle()
            assert await stream.is_ended_after(10.0)
            writing.cancel()

    asyncio.run(scenario())


def test_the_end_of_the_block_ends_the_timer():
    async def scenario():
        loop = Loop()
        with IdleWatch(10.0, loop):
            pass
        loop.advance(100.0)
        await settle()

    asyncio.run(scenario())


@pytest.fixture(scope="module")
def impatient(model_path):
    with running(model_path, "--stream-idle", 1) as service, service.channel() as channel:
        yield channel


def test_an_idle_stream_ends_with_a_status_that_says_why(impatient, scorer):
    requests, rows = QueueOfRequests(), make_rows(2, seed=1)
    replies = ScoringServiceStub(impatient).ScoreStream(requests, timeout=20)
    requests.put(pb.ScoreRequest(tensor=tensor(rows)))
    assert_same_bits(next(replies), scorer.score(rows))
    code, text, _ = fault_of(next, replies)
    assert code is grpc.StatusCode.ABORTED
    assert text == "no request came and no reply was read for 1 s; open another stream"
    requests.put(None)


def test_a_health_watch_may_be_idle(impatient):
    """It has one request, and its replies come when the status changes."""
    watch = impatient.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=20)
    next(watch)
    requests = QueueOfRequests()
    stream = impatient.stream_stream("/anomaly_vae.v1.ScoringService/ScoreStream")(requests, timeout=20)
    assert fault_of(next, stream)[0] is grpc.StatusCode.ABORTED  # as long as this
    assert watch.is_active()
    watch.cancel()
    requests.put(None)
