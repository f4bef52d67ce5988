"""Room in the queue: rows, bytes and seconds of work are limited, and shared among callers."""

import asyncio
import contextlib
import math
import threading
import time

import grpc
import pytest

from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.callers import NO_TOKEN, Caller, Priority
from anomaly_vae.service.queue.admission import Admission, Reservation
from anomaly_vae.service.queue.fair_scheduler import FairScheduler
from anomaly_vae.service.telemetry.metrics import Metrics
from tests.support.queues import KEY, OPTIONS, Echo, check_room, error_of, in_queue, job, rows_from, submit


@pytest.mark.parametrize(("limit_rows", "limit_bytes"), [(10, 10_000), (10_000, 80)])
def test_rows_and_bytes_are_limited(limit_rows, limit_bytes):
    async def scenario(queue, value):
        model = Echo()
        first = asyncio.create_task(submit(queue, model, rows_from(0, 8)))
        await asyncio.to_thread(model.begun.wait)
        error = await error_of(submit(queue, model, rows_from(0, 3)))
        assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error.retry_after >= 0.05
        assert ("8 rows are waiting" if limit_rows == 10 else "64 bytes of rows are waiting") in error.text
        assert value("anomaly_vae_rejected_total", {"reason": "queue_full"}) == 1
        room = asyncio.create_task(submit(queue, model, rows_from(5, 3), wait_for_room=True))
        await asyncio.sleep(0.01)
        assert not room.done()
        model.go.set()
        await room
        await first
        assert len(await submit(queue, model, rows_from(0, 3))) == 3

    in_queue(scenario, limit_rows=limit_rows, limit_bytes=limit_bytes)


def test_requests_that_wait_for_room_keep_the_limit():
    async def scenario(queue, value):
        model = Echo(seconds=1e-5)
        model.go.set()
        highest = 0

        async def watch():
            nonlocal highest
            while True:
                highest = max(highest, value("anomaly_vae_queue_rows"))
                await asyncio.sleep(0)

        watching = asyncio.create_task(watch())
        requests = [rows_from(100 * i, 7) for i in range(40)]
        parts = await asyncio.gather(*(submit(queue, model, rows, wait_for_room=True) for rows in requests))
        watching.cancel()
        assert [part.num_samples[0] for part in parts] == list(range(0, 4000, 100))
        assert 0 < highest <= 20
        assert value("anomaly_vae_rejected_total", {"reason": "queue_full"}) == 0

    in_queue(scenario, limit_rows=20)


def test_a_request_that_cannot_be_done_in_time_is_refused_at_once():
    """200 rows of 5 ms wait. 300 more rows cannot be done within 0.5 s; without a deadline they are admitted."""

    async def scenario(queue, _value):
        model = Echo(seconds=0.005)
        model.go.set()
        await submit(queue, model, rows_from(0, 16))
        waiting = asyncio.create_task(submit(queue, model, rows_from(0, 200)))
        await asyncio.sleep(0.02)
        error = await error_of(submit(queue, model, rows_from(0, 300), time.monotonic() + 0.5))
        assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "the deadline is in 0.5 s" in error.text
        short = await submit(queue, model, rows_from(0, 2), time.monotonic() + 0.5)  # overtakes the waiting rows
        assert len(short) == 2
        assert not waiting.done()
        check_room(queue, model, 300, 8, math.inf)
        waiting.cancel()

    in_queue(scenario, threads=1, limit_rows=10_000)


def test_a_caller_is_not_refused_because_of_the_waiting_rows_of_others():
    """Its share of the compute time is enough for its deadline, and it has a share of the room, too."""

    async def scenario(queue, value):
        model = Echo()
        queue.learn(model, OPTIONS, 32, 32 * 0.01)
        heavy = []
        for caller in range(15):  # each of them takes half of what the one before has left
            with contextlib.suppress(CallError):
                while value("anomaly_vae_queue_rows") < 1_000:
                    check_room(queue, model, 20, 160, math.inf, caller)
                    heavy.append(asyncio.create_task(submit(queue, model, rows_from(0, 20), caller=caller)))
                    await asyncio.sleep(0)
        assert [one.caller for one in queue._jobs].count((0, "model")) == 13
        text = "260 rows are waiting for this caller; it may have at most the 0 left of the half "
        text += "that callers share; send"
        with pytest.raises(CallError, match=text):
            check_room(queue, model, 20, 160, math.inf, 0)
        assert 600 < value("anomaly_vae_queue_rows") <= 1_000
        assert queue._scheduler.backlog() > 4
        light = asyncio.create_task(submit(queue, model, rows_from(5, 1), time.monotonic() + 3.0, caller="light"))
        await asyncio.sleep(0)
        assert not light.done()
        with pytest.raises(CallError, match="s of work come before it, the deadline is in"):
            check_room(queue, model, 100, 8, time.monotonic() + 3.0, "stranger")
        model.go.set()
        assert (await light).num_samples.tolist() == [5]
        await asyncio.gather(*heavy)

    in_queue(scenario, threads=1, limit_rows=1_000)


def test_the_waiting_work_of_each_caller_is_limited_in_seconds():
    async def scenario(queue, value):
        model = Echo()
        queue.learn(model, OPTIONS, 32, 32 * 1.0)
        tasks = []

        async def add(num_rows, caller):
            tasks.append(asyncio.create_task(submit(queue, model, rows_from(0, num_rows), caller=caller)))
            await asyncio.sleep(0.01)

        await add(500, "heavy")  # nothing is ahead of it
        assert value("anomaly_vae_queue_seconds") > 400
        error = await error_of(submit(queue, model, rows_from(0, 500), caller="heavy"))
        assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "of this caller's own work come before it, at most 30 s may (callers with work waiting: 1)" in error.text
        assert error.retry_after == 30
        await add(10, "heavy")  # overtakes the long one
        await add(40, "light")  # the work of others does not matter
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        model.go.set()

    in_queue(scenario, threads=1, limit_rows=10_000, limit_seconds=60.0)


class Queue:
    """An admission without a queue behind it, for two threads; rows of KEY take 10 ms each."""

    def __init__(self, limit_rows=100, limit_bytes=10_000, limit_seconds=math.inf):
        self.scheduler, self.metrics = FairScheduler(), Metrics(limit_rows, limit_bytes)
        self.scheduler.costs.learn(KEY.cost, 32, 0.32)
        limits = {"limit_rows": limit_rows, "limit_bytes": limit_bytes, "limit_seconds": limit_seconds}
        self.admission = Admission(self.scheduler, threading.Lock(), 2, self.metrics, **limits)

    def reservation(self, num_rows, caller="a", identity=NO_TOKEN):
        return Reservation(self.admission, KEY, num_rows, 8 * num_rows, caller, identity)

    @property
    def held(self):
        return self.admission.rows.total, self.admission.num_bytes.total


def test_the_end_of_the_block_gives_the_room_back_whatever_happened():
    queue = Queue()
    with queue.reservation(10) as reservation:
        assert not reservation.is_taken
        reservation.take()
        assert queue.held == (10, 80)
    assert queue.held == (0, 0)
    with contextlib.suppress(KeyError), queue.reservation(10) as reservation:
        reservation.take()
        raise KeyError
    assert queue.held == (0, 0)
    with queue.reservation(10):
        pass  # nothing was taken, so nothing is given back
    assert queue.held == (0, 0)


def test_a_refused_reservation_takes_nothing_and_is_counted():
    queue = Queue(limit_rows=100)
    with queue.reservation(101) as reservation, pytest.raises(CallError) as error:
        reservation.take()
    assert error.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.value.text == "0 rows are waiting, at most 100 may; send it again later"
    assert queue.held == (0, 0)
    assert queue.metrics.registry.get_sample_value("anomaly_vae_rejected_total", {"reason": "queue_full"}) == 1


def test_the_seconds_that_wait_are_shared_by_all_threads():
    """60 rows of 10 ms on two threads."""
    queue = Queue()
    queue.scheduler.add(job(60))
    assert queue.admission.seconds_waiting() == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("own", "others", "seconds"),
    [
        (0, 0, 0.05),
        (2, 0, 0.05),
        (400, 0, 1.0),
        (0, 400, 1.0),
        (0, 4_000_000, 30.0),
    ],
)
def test_a_retry_comes_when_half_of_the_work_ahead_is_done(own, others, seconds):
    """n rows of 10 ms on two threads take n * 5 ms, half of it n * 2.5 ms; at least 50 ms and at most 30 s."""
    queue = Queue(limit_rows=1)
    for caller, num_rows in (("a", own), ("b", others)):
        if num_rows:
            queue.scheduler.add(job(num_rows, caller=(caller, "model")))
    with pytest.raises(CallError) as error:
        queue.reservation(2).take()
    assert error.value.retry_after == pytest.approx(seconds)


def test_a_request_with_no_work_ahead_is_admitted_whatever_its_deadline():
    """The prediction may be wrong, and no later time would be better."""
    queue = Queue(limit_rows=1_000)
    queue.reservation(1_000).take(expires=time.monotonic() + 0.001)
    assert queue.held == (1_000, 8_000)


def test_a_request_that_waits_gets_room_when_another_gives_it_back():
    async def scenario():
        queue = Queue()
        with queue.reservation(80, "b") as first:
            first.take()
            with queue.reservation(40) as second:
                waiting = asyncio.create_task(second.wait())
                await asyncio.sleep(0)
                assert not waiting.done()
                assert queue.held == (80, 640)
                first.__exit__(None, None, None)
                await asyncio.wait_for(waiting, 10)
                assert second.is_taken
                assert queue.held == (40, 320)
        assert queue.held == (0, 0)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("limits", "reason", "retry_after"),
    [({"rows_per_second": 10}, "rows_per_second", 0.4), ({"outstanding_rows": 10}, "outstanding_rows", 0.05)],
)
def test_a_caller_above_its_limits_is_refused_by_their_name_and_nothing_is_taken(limits, reason, retry_after):
    queue, caller = Queue(), Caller("a", **limits)
    queue.reservation(9, identity=caller).take()
    with pytest.raises(CallError) as error:
        queue.reservation(5, identity=caller).take()
    assert error.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.value.retry_after == pytest.approx(retry_after, abs=0.05)
    value = queue.metrics.registry.get_sample_value
    assert value("anomaly_vae_rejected_total", {"reason": reason}) == 1
    assert queue.held == (9, 72)
    queue.reservation(5, "b").take()  # others may


def test_a_request_of_a_stream_waits_until_its_caller_has_fewer_outstanding_rows():
    async def scenario():
        queue, caller = Queue(), Caller("a", outstanding_rows=10)
        with queue.reservation(9, identity=caller) as first, queue.reservation(5, identity=caller) as second:
            first.take()
            waiting = asyncio.create_task(second.wait())
            await asyncio.sleep(0)
            assert not waiting.done()
            first.__exit__(None, None, None)
            await asyncio.wait_for(waiting, 10)
            assert queue.admission.callers.outstanding() == {"a": 5}

    asyncio.run(scenario())


def test_a_deadline_counts_online_rows_before_batch_rows_and_not_the_other_way_round():
    """Rows of 10 ms on two threads. 400 rows of each class wait; another 20 rows of one class take 0.1 s."""
    queue, batch = Queue(limit_rows=10_000), Caller("b", Priority.BATCH)
    for priority in Priority:
        queue.scheduler.add(job(400, caller=("waits", "model"), priority=priority))
    queue.reservation(20, identity=NO_TOKEN).take(time.monotonic() + 0.3)  # 0.1 s for each online caller, and 5 %
    with pytest.raises(CallError, match="s of work come before it, the deadline is in 2 s"):
        queue.reservation(20, identity=batch).take(time.monotonic() + 2.0)
    queue.reservation(20, identity=batch).take(time.monotonic() + 2.4)  # 2 s of online rows, 0.1 s of each batch caller


def test_a_deadline_of_batch_rows_counts_the_online_rows_that_keep_coming():
    """They take half of the two threads, so 3.9 s of batch rows take 7.8 s."""
    queue, batch = Queue(limit_rows=10_000, limit_bytes=100_000), Caller("b", Priority.BATCH)
    queue.scheduler.add(job(380, caller=("a", "model"), priority=Priority.BATCH))
    for load, seconds in ((0.0, 3.9), (1.0, 7.8)):
        queue.scheduler._online_load, queue.scheduler._load_at = load, time.monotonic()
        with queue.reservation(400, "c", batch) as reservation:
            with pytest.raises(CallError, match="s of work come before it"):
                reservation.take(time.monotonic() + 0.9 * seconds)
            reservation.take(time.monotonic() + 1.1 * seconds)
