"""The queue between the event loop and the threads, with a work that says whose rows it was given."""

import asyncio
import contextlib
import math
import threading
import time
from dataclasses import dataclass, field
from types import SimpleNamespace

import grpc
import numpy as np
import pytest

from anomaly_vae.scores import Flags
from anomaly_vae.service.faults import Fault
from anomaly_vae.service.metrics import Metrics
from anomaly_vae.service.queueing import ScoringQueue

POISON = -1.0


@dataclass(eq=False)
class Echo:
    """Gives every row's number back as its num_samples; can be held up, and fails where a row is poison."""

    num_samples: int = 16
    served: object = field(default_factory=lambda: SimpleNamespace(version="1"))
    pace: int = 0
    flag_only: bool = False
    go: threading.Event = field(default_factory=threading.Event)
    seconds: float = 0.0
    computed: list = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)

    def run(self, rows):
        self.begun.set()
        assert self.go.wait(10)
        time.sleep(self.seconds * len(rows))
        self.computed += rows[:, 0].tolist()
        if (rows == POISON).any():
            raise ValueError("poison")
        numbers = rows[:, 0].astype(np.int64)
        return Flags(is_anomaly=numbers % 2 == 1, num_samples=numbers, reason=[None] * len(rows))


def rows_from(first, num_rows):
    return np.arange(first, first + num_rows, dtype=float)[:, None]


def in_queue(scenario, threads=2, limit_rows=1_000, limit_bytes=1_000_000, limit_seconds=math.inf):
    async def run():
        metrics = Metrics(limit_rows, limit_bytes)
        queue = ScoringQueue(
            threads, limit_rows=limit_rows, limit_bytes=limit_bytes, limit_seconds=limit_seconds, metrics=metrics
        )
        try:
            return await asyncio.wait_for(scenario(queue, metrics.registry.get_sample_value), 20)
        finally:
            await asyncio.to_thread(queue.close)

    return asyncio.run(run())


async def fault_of(awaitable):
    with pytest.raises(Fault) as error:
        await awaitable
    return error.value


def test_everyone_gets_the_answer_to_their_own_rows():
    """Hundreds of requests of all sizes, a third of them cancelled at odd moments."""

    async def scenario(queue, value):
        rng = np.random.default_rng(5)
        work = Echo(seconds=1e-6)
        work.go.set()

        async def one(i):
            n = int(rng.integers(1, 60))
            part = await queue.submit(work, rows_from(1_000 * i, n))
            assert part.num_samples.tolist() == list(range(1_000 * i, 1_000 * i + n))
            assert part.is_anomaly.tolist() == [j % 2 == 1 for j in range(1_000 * i, 1_000 * i + n)]
            return n

        tasks = []
        for i in range(400):
            tasks.append(asyncio.create_task(one(i)))
            if i % 3 == 0:
                asyncio.get_running_loop().call_later(float(rng.uniform(0, 0.02)), tasks[-1].cancel)
            if i % 7 == 0:
                await asyncio.sleep(0.001)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, (int, asyncio.CancelledError)) for outcome in outcomes), outcomes
        answered = sum(outcome for outcome in outcomes if isinstance(outcome, int))
        assert value("anomaly_vae_queue_rows") == value("anomaly_vae_queue_bytes") == 0
        counted = sum(value("anomaly_vae_rows_total", {"model_version": "1", "outcome": o}) or 0
                      for o in ("normal", "anomaly"))  # fmt: skip
        assert answered <= counted <= answered + 60 * sum(outcome is not int for outcome in outcomes)
        assert await queue.submit(work, rows_from(7, 1)) is not None

    in_queue(scenario, limit_rows=100_000)


def test_requests_that_wait_are_computed_together():
    async def scenario(queue, value):
        work = Echo()
        first = asyncio.create_task(queue.submit(work, rows_from(0, 1)))
        await asyncio.to_thread(work.begun.wait)
        rest = [asyncio.create_task(queue.submit(work, rows_from(10 * i, 3))) for i in range(1, 11)]
        await asyncio.sleep(0.01)
        work.go.set()
        parts = await asyncio.gather(first, *rest)
        assert [part.num_samples[0] for part in parts] == list(range(0, 101, 10))
        assert value("anomaly_vae_batch_rows_count") <= 4  # the first, and tiles of the 30 rows that waited
        assert value("anomaly_vae_batch_rows_sum") == 31

    in_queue(scenario, threads=1)


def test_one_large_request_keeps_all_threads_busy():
    async def scenario(queue, _value):
        met = threading.Barrier(2, timeout=5)
        work = Echo()
        work.go.set()
        compute = work.run
        work.run = lambda rows: (met.wait(), compute(rows))[1]  # each part waits until another is computed, too
        assert len(await queue.submit(work, rows_from(0, 32))) == 32

    in_queue(scenario, threads=2)


def test_what_a_batch_takes_is_learned_without_its_waiting_for_a_network():
    async def scenario(queue, _value):
        slot = threading.Lock()
        work = Echo()

        def run(rows):
            with slot:  # as many networks as threads: a spare one waits for its turn
                time.sleep(1e-4 * len(rows))
            return Flags(is_anomaly=rows[:, 0] > 0, num_samples=rows[:, 0].astype(np.int64), reason=[None] * len(rows))

        work.run = run
        for _ in range(4):
            await asyncio.gather(*(queue.submit(work, rows_from(0, 256), caller=i) for i in range(3)))
        assert queue._turns.pace.seconds(work, 1_000) == pytest.approx(0.1, rel=0.3)

    in_queue(scenario, threads=1)


def test_a_request_that_fails_fails_alone():
    async def scenario(queue, _value):
        work = Echo()
        first = asyncio.create_task(queue.submit(work, rows_from(0, 1)))
        await asyncio.to_thread(work.begun.wait)
        bad = asyncio.create_task(queue.submit(work, np.array([[3.0], [POISON]])))
        good = [asyncio.create_task(queue.submit(work, rows_from(10 * i, 3))) for i in range(1, 5)]
        await asyncio.sleep(0.01)
        work.go.set()
        outcomes = await asyncio.gather(bad, first, *good, return_exceptions=True)
        assert isinstance(outcomes[0], ValueError)
        assert [part.num_samples[0] for part in outcomes[1:]] == [0, 10, 20, 30, 40]

    in_queue(scenario, threads=1)


def test_a_cancelled_request_frees_its_rows_and_is_not_computed():
    async def scenario(queue, value):
        work = Echo()
        first = asyncio.create_task(queue.submit(work, rows_from(0, 1)))
        await asyncio.to_thread(work.begun.wait)
        cancelled = asyncio.create_task(queue.submit(work, rows_from(100, 400)))
        await asyncio.sleep(0.01)
        assert value("anomaly_vae_queue_rows") == 401
        assert value("anomaly_vae_queue_bytes") == 8 * 401
        cancelled.cancel()
        await asyncio.sleep(0.01)
        assert value("anomaly_vae_queue_rows") == 1
        work.go.set()
        await first
        await queue.submit(work, rows_from(1, 1))
        assert work.computed == [0, 1]

    in_queue(scenario, threads=1)


def test_one_that_is_cancelled_while_it_is_held_back_does_not_keep_those_behind_it():
    """Requests that come together are gathered; the first of them must not take the others' release with it."""

    async def scenario(queue, _value):
        work = Echo()
        work.go.set()
        queue._gathering._usual = 5.0  # as after a while with five clients
        first, second = (asyncio.create_task(queue.submit(work, rows_from(i, 2))) for i in (0, 10))
        await asyncio.sleep(0)
        assert len(queue._gathering._jobs) == 2
        first.cancel()
        assert (await asyncio.wait_for(second, 2)).num_samples.tolist() == [10, 11]
        assert queue._gathering._rows == 0

    in_queue(scenario, threads=1)


def test_long_requests_under_way_are_no_reason_to_hold_a_short_one_back():
    async def scenario(queue, _value):
        work = Echo()
        heavy = [asyncio.create_task(queue.submit(work, rows_from(0, 100), caller=i)) for i in range(8)]
        await asyncio.to_thread(work.begun.wait)
        light = asyncio.create_task(queue.submit(work, rows_from(7, 1), caller="light"))
        await asyncio.sleep(0)
        assert not queue._gathering._jobs
        work.go.set()
        await asyncio.gather(light, *heavy)

    in_queue(scenario)


def test_one_that_is_cancelled_while_it_is_computed_harms_nobody():
    async def scenario(queue, _value):
        work = Echo()
        cancelled = asyncio.create_task(queue.submit(work, rows_from(0, 5)))
        await asyncio.to_thread(work.begun.wait)
        cancelled.cancel()
        await asyncio.sleep(0.01)
        work.go.set()
        for i in range(3):
            assert (await queue.submit(work, rows_from(i, 2))).num_samples.tolist() == [i, i + 1]

    in_queue(scenario, threads=1)


def test_work_past_its_deadline_is_never_computed():
    async def scenario(queue, _value):
        work = Echo()
        first = asyncio.create_task(queue.submit(work, rows_from(0, 1)))
        await asyncio.to_thread(work.begun.wait)
        late = asyncio.create_task(queue.submit(work, rows_from(100, 50), time.monotonic() + 0.05))
        await asyncio.sleep(0.1)
        work.go.set()
        await first
        assert (await fault_of(late)).code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert (await fault_of(queue.submit(work, rows_from(1, 1), time.monotonic()))).code is (
            grpc.StatusCode.DEADLINE_EXCEEDED
        )
        assert work.computed == [0]

    in_queue(scenario, threads=1)


@pytest.mark.parametrize(("limit_rows", "limit_bytes"), [(10, 10_000), (10_000, 80)])
def test_rows_and_bytes_are_bounded(limit_rows, limit_bytes):
    async def scenario(queue, value):
        work = Echo()
        first = asyncio.create_task(queue.submit(work, rows_from(0, 8)))
        await asyncio.to_thread(work.begun.wait)
        fault = await fault_of(queue.submit(work, rows_from(0, 3)))
        assert fault.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert fault.retry_after >= 0.05
        assert ("8 rows are waiting" if limit_rows == 10 else "64 bytes of rows are waiting") in fault.text
        assert value("anomaly_vae_rejected_total", {"reason": "queue_full"}) == 1
        room = asyncio.create_task(queue.wait_for_room(work, 3, 24))
        await asyncio.sleep(0.01)
        assert not room.done()
        work.go.set()
        await room
        await first
        assert len(await queue.submit(work, rows_from(0, 3))) == 3

    in_queue(scenario, limit_rows=limit_rows, limit_bytes=limit_bytes)


def test_who_is_patient_waits_for_room_and_the_bound_holds():
    async def scenario(queue, value):
        work = Echo(seconds=1e-5)
        work.go.set()
        highest = 0

        async def watch():
            nonlocal highest
            while True:
                highest = max(highest, value("anomaly_vae_queue_rows"))
                await asyncio.sleep(0)

        watching = asyncio.create_task(watch())
        parts = await asyncio.gather(*(queue.submit(work, rows_from(100 * i, 7), patient=True) for i in range(40)))
        watching.cancel()
        assert [part.num_samples[0] for part in parts] == list(range(0, 4000, 100))
        assert 0 < highest <= 20
        assert value("anomaly_vae_rejected_total", {"reason": "queue_full"}) == 0

    in_queue(scenario, limit_rows=20)


def test_a_request_that_cannot_be_done_in_time_is_refused_at_once():
    """200 rows of 5 ms wait: whoever has half a second for 100 more is told so now, who has patience is not."""

    async def scenario(queue, _value):
        work = Echo(seconds=0.005)
        work.go.set()
        await queue.submit(work, rows_from(0, 16))
        waiting = asyncio.create_task(queue.submit(work, rows_from(0, 200)))
        await asyncio.sleep(0.02)
        fault = await fault_of(queue.submit(work, rows_from(0, 300), time.monotonic() + 0.5))
        assert fault.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "the deadline is in 0.5 s" in fault.text
        short = await queue.submit(work, rows_from(0, 2), time.monotonic() + 0.5)  # overtakes what waits
        assert len(short) == 2
        assert not waiting.done()
        queue.check_room(work, 300, 8, math.inf)
        waiting.cancel()

    in_queue(scenario, threads=1, limit_rows=10_000)


def test_one_row_is_answered_while_all_threads_compute_others_batches():
    """A batch cannot be interrupted: whoever waited for its end would wait as long as the slowest model takes."""

    async def scenario(queue, _value):
        stuck, free = Echo(), Echo()
        free.go.set()
        heavy = [asyncio.create_task(queue.submit(stuck, rows_from(0, 200), caller="heavy")) for _ in range(2)]
        await asyncio.to_thread(stuck.begun.wait)
        for i in range(20):
            part = await asyncio.wait_for(queue.submit(free, rows_from(i, 1), caller="light"), 10)
            assert part.num_samples.tolist() == [i]
        assert not any(one.done() for one in heavy)
        stuck.go.set()
        await asyncio.gather(*heavy)

    in_queue(scenario, threads=1, limit_rows=10_000)


def test_a_caller_is_not_refused_for_what_others_have_waiting():
    """Neither for its deadline, which its share of the machine meets, nor for room, of which it has a share too."""

    async def scenario(queue, value):
        work = Echo()
        queue.learn(work, 32, 32 * 0.01)
        heavy = []
        for caller in range(15):  # each of them takes half of what the one before has left
            with contextlib.suppress(Fault):
                while value("anomaly_vae_queue_rows") < 1_000:
                    queue.check_room(work, 20, 160, math.inf, caller)
                    heavy.append(asyncio.create_task(queue.submit(work, rows_from(0, 20), caller=caller)))
                    await asyncio.sleep(0)
        assert [one.caller for one in queue._jobs].count(0) == 13
        with pytest.raises(Fault, match=r"260 rows are waiting for this caller, .* left of what all share, 0; send"):
            queue.check_room(work, 20, 160, math.inf, 0)
        assert 600 < value("anomaly_vae_queue_rows") <= 1_000
        assert queue._turns.backlog() > 4
        light = asyncio.create_task(queue.submit(work, rows_from(5, 1), time.monotonic() + 3.0, caller="light"))
        await asyncio.sleep(0)
        assert not light.done()
        with pytest.raises(Fault, match="s of work come before it, the deadline is in"):
            queue.check_room(work, 100, 8, time.monotonic() + 3.0, "stranger")
        work.go.set()
        assert (await light).num_samples.tolist() == [5]
        await asyncio.gather(*heavy)

    in_queue(scenario, threads=1, limit_rows=1_000)


def test_what_waits_is_bounded_in_seconds_of_each_caller_s_own_work():
    async def scenario(queue, value):
        work = Echo()
        queue.learn(work, 32, 32 * 1.0)
        tasks = []

        async def submit(num_rows, caller):
            tasks.append(asyncio.create_task(queue.submit(work, rows_from(0, num_rows), caller=caller)))
            await asyncio.sleep(0.01)

        await submit(500, "heavy")  # has nothing before it
        assert value("anomaly_vae_queue_seconds") > 400
        fault = await fault_of(queue.submit(work, rows_from(0, 500), caller="heavy"))
        assert fault.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "of this caller's own work come before it, at most 30 s may while 1 have work waiting" in fault.text
        assert fault.retry_after == 30
        await submit(10, "heavy")  # goes before the long one
        await submit(40, "light")  # others' work is no reason to refuse it
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        work.go.set()

    in_queue(scenario, threads=1, limit_rows=10_000, limit_seconds=60.0)


def test_what_is_cut_off_is_told_that_it_may_be_sent_elsewhere():
    async def scenario(queue, value):
        work = Echo()
        tasks = [asyncio.create_task(queue.submit(work, rows_from(0, n), caller=n)) for n in (100, 200, 300)]
        await asyncio.to_thread(work.begun.wait)
        queue.drain()
        assert queue.cut() == (3, 600)
        for task in tasks:
            fault = await fault_of(task)
            assert fault.code is grpc.StatusCode.UNAVAILABLE
            assert "shutting down" in fault.text
        assert queue.cut() == (0, 0)
        assert value("anomaly_vae_queue_rows") == 0
        work.go.set()

    in_queue(scenario)


def test_once_it_drains_what_can_be_done_is_done_first():
    """Six of one size from six callers: side by side all would be cut off, one after the other some are done."""

    async def scenario(queue, _value):
        work = Echo(seconds=1e-4)
        queue.learn(work, 32, 32 * 1e-3)  # so that batches are small
        tasks = [asyncio.create_task(queue.submit(work, rows_from(1_000 * i, 160), caller=i)) for i in range(6)]
        await asyncio.to_thread(work.begun.wait)
        queue.drain()
        work.go.set()
        await asyncio.gather(*tasks)
        assert len(work.computed) == 6 * 160
        ends = sorted(work.computed.index(1_000.0 * i + 159) for i in range(6))
        assert ends[0] < 2 * 160  # two batches had begun
        assert ends[2] < 4 * 160

    in_queue(scenario, threads=1)


def test_a_closed_queue_ends_its_threads():
    async def scenario(queue, _value):
        work = Echo()
        work.go.set()
        await queue.submit(work, rows_from(0, 3))
        await asyncio.to_thread(queue.close)
        assert not any(thread.name.startswith("score-") for thread in threading.enumerate())

    in_queue(scenario)
