"""The threads that compute batches."""

import asyncio
import gc
import threading
import time
import weakref

import numpy as np
import pytest

from anomaly_vae.scores import Flags
from anomaly_vae.service.queue.cost_model import CostModel
from anomaly_vae.service.queue.fair_scheduler import FairScheduler
from anomaly_vae.service.queue.jobs import BatchKey
from anomaly_vae.service.queue.workers import Workers
from tests.support.queues import OPTIONS, POISON, Echo, in_queue, job, rows_from, submit, unblocked


def test_one_large_request_keeps_all_threads_busy():
    async def scenario(queue, _value):
        met = threading.Barrier(2, timeout=5)
        model = Echo()
        model.go.set()
        compute = model.compute
        # Each part waits until another one is computed.
        model.compute = lambda *arguments: (met.wait(), compute(*arguments))[1]
        assert len(await submit(queue, model, rows_from(0, 32))) == 32

    in_queue(scenario, threads=2)


def test_the_learned_time_of_a_batch_leaves_out_its_wait_for_a_network():
    """With its wait a batch takes about twice its time. Batches time themselves: a busy machine makes them longer."""

    async def scenario(queue, _value):
        slot, taken = threading.Lock(), []
        model = Echo()

        def compute(rows, _options):
            with slot:  # one network at a time: a spare thread waits for its turn
                start = time.perf_counter()
                time.sleep(1e-4 * len(rows))
                taken.append((time.perf_counter() - start) / len(rows))
            return Flags(is_anomaly=rows[:, 0] > 0, num_samples=rows[:, 0].astype(np.int64), reason=[None] * len(rows))

        model.compute = compute
        for _ in range(4):
            await asyncio.gather(*(submit(queue, model, rows_from(0, 256), caller=i) for i in range(3)))
        learned = queue._scheduler.costs.seconds(BatchKey(model, OPTIONS).cost, 1_000) / 1_000
        assert 0.7 * min(taken) <= learned <= 1.3 * max(taken)

    in_queue(scenario, threads=1)


def test_one_row_is_answered_while_all_threads_compute_others_batches():
    """A batch cannot be interrupted: a row that waited for its end would wait as long as the slowest model takes."""

    async def scenario(queue, _value):
        stuck, free = Echo(), Echo()
        free.go.set()
        heavy = [asyncio.create_task(submit(queue, stuck, rows_from(0, 200), caller="heavy")) for _ in range(2)]
        await asyncio.to_thread(stuck.begun.wait)
        for i in range(20):
            part = await asyncio.wait_for(submit(queue, free, rows_from(i, 1), caller="light"), 10)
            assert part.num_samples.tolist() == [i]
        assert not any(one.done() for one in heavy)
        stuck.go.set()
        await asyncio.gather(*heavy)

    in_queue(scenario, threads=1, limit_rows=10_000)


def test_short_requests_that_come_during_a_batch_of_short_ones_form_one_batch():
    """The thread for short requests leaves them alone: many small batches take longer than one."""

    async def scenario(queue, _value):
        model, sizes = Echo(), []
        compute = model.compute
        model.compute = lambda rows, options: (sizes.append(len(rows)), compute(rows, options))[1]
        queue._scheduler.costs.learn(BatchKey(model, OPTIONS).cost, 16, 0.016)
        first = asyncio.create_task(submit(queue, model, rows_from(0, 1), caller="first"))
        await asyncio.to_thread(model.begun.wait)
        ends = queue._workers._ends
        ends |= dict.fromkeys(ends, time.monotonic() + 60.0)  # soon, however slow this machine is
        others = [asyncio.create_task(submit(queue, model, rows_from(i, 1), caller=i)) for i in (1, 2, 3)]
        while queue._scheduler.backlog() < 0.0029:
            await asyncio.sleep(0.001)
        model.go.set()
        await asyncio.gather(first, *others)
        assert sizes == [1, 3]

    in_queue(scenario, threads=1)


def test_a_short_request_does_not_wait_for_a_short_one_that_takes_longer_than_predicted():
    async def scenario(queue, _value):
        stuck = Echo()
        queue._scheduler.costs.learn(BatchKey(stuck, OPTIONS).cost, 16, 0.016)
        blocked = asyncio.create_task(submit(queue, stuck, rows_from(0, 2), caller="stuck"))
        await asyncio.to_thread(stuck.begun.wait)
        for i in range(5):
            part = await asyncio.wait_for(submit(queue, unblocked(), rows_from(i, 1), caller="light"), 10)
            assert part.num_samples.tolist() == [i]
        assert not blocked.done()
        stuck.go.set()
        await blocked

    in_queue(scenario, threads=1)


def test_a_closed_queue_ends_its_threads():
    async def scenario(queue, _value):
        model = Echo()
        model.go.set()
        await submit(queue, model, rows_from(0, 3))
        await asyncio.to_thread(queue.close)
        assert not any(thread.name.startswith("score-") for thread in threading.enumerate())

    in_queue(scenario)


def computed_by(model, jobs, threads=1):
    """Compute jobs by workers without a queue; return the computed batches, the expired jobs and the scheduler."""

    async def run():
        scheduler, computed, expired, done = FairScheduler(), [], [], asyncio.Event()
        left = sum(len(one.rows) for one in jobs)

        def count(num_rows):
            nonlocal left
            left -= num_rows
            if not left:
                done.set()

        def on_computed(result):
            computed.append(result)
            count(result.batch.num_rows)

        def on_expired(late):
            expired.extend(late)
            count(sum(lengths[id(one)] for one in late))

        lengths = {id(one): len(one.rows) for one in jobs}
        team = Workers(scheduler, threading.Lock(), threads, 0, on_computed=on_computed, on_expired=on_expired)
        try:
            team.add(jobs)
            await asyncio.wait_for(done.wait(), 20)
        finally:
            await asyncio.to_thread(team.close)
        return computed, expired, scheduler

    return asyncio.run(run())


@pytest.mark.parametrize("threads", [1, 3])
def test_each_row_is_computed_once_and_its_time_is_learned(threads):
    model = unblocked()
    key = BatchKey(model, OPTIONS)
    jobs = [job(size, key, first=1_000 * i) for i, size in enumerate((1, 200, 17, 40, 3))]
    computed, expired, scheduler = computed_by(model, jobs, threads)
    rows = [number for one in computed for number in one.whole.num_samples.tolist()]
    assert sorted(rows) == sorted(number for one in jobs for number in one.rows[:, 0].tolist())
    assert all(len(one.outcomes) == len(one.batch.shares) for one in computed)
    assert expired == []
    assert scheduler.is_empty
    assert scheduler.costs.seconds(key.cost, 1) != CostModel().seconds(key.cost, 1)


def test_expired_jobs_are_reported_and_not_computed():
    model = unblocked()
    key = BatchKey(model, OPTIONS)
    late, alive = job(5, key, expires=time.monotonic() - 1.0), job(3, key, first=100)
    computed, expired, _ = computed_by(model, [late, alive])
    assert expired == [late]
    assert model.computed == [100, 101, 102]
    assert [share.job for one in computed for share in one.batch.shares] == [alive]


def test_a_failed_batch_leaves_the_thread_working():
    """The error is the outcome of its share; the jobs after it get their scores."""
    model = unblocked()
    key = BatchKey(model, OPTIONS)
    bad, good = job(1, key), job(40, key, first=100)
    bad.rows[:] = POISON
    computed, _, _ = computed_by(model, [bad, good])
    outcomes = {
        id(share.job): outcome
        for one in computed
        for share, outcome in zip(one.batch.shares, one.outcomes, strict=True)
    }
    assert isinstance(outcomes[id(bad)], ValueError)
    assert isinstance(outcomes[id(good)], Flags)


def test_a_model_is_freed_although_no_further_batch_comes():
    """A thread that waits must not keep its last batch: the model may have been replaced."""

    async def scenario(queue, _value):
        model = unblocked()
        gone = weakref.ref(model)
        await submit(queue, model, rows_from(0, 3))
        del model
        for _ in range(2_000):
            gc.collect()
            if gone() is None:
                return
            await asyncio.sleep(0.001)
        pytest.fail("the model is still in memory")

    in_queue(scenario, threads=1)
