"""The queue between the event loop and the threads, with a model that returns the numbers of its rows."""

import asyncio
import math
import time

import grpc
import numpy as np
import pytest

from anomaly_vae.service.call_errors import CallError
from anomaly_vae.service.queue.jobs import explain_key
from tests.support.queues import OPTIONS, Echo, error_of, in_queue, rows_from, submit

MODEL = {"model_name": "model", "model_version": "1"}


def test_each_request_gets_the_scores_of_its_own_rows():
    """400 requests of 1 to 59 rows; a third of them are cancelled at random times."""

    async def scenario(queue, value):
        rng = np.random.default_rng(5)
        model = Echo(seconds=1e-6)
        model.go.set()

        async def one(i):
            n = int(rng.integers(1, 60))
            part = await submit(queue, model, rows_from(1_000 * i, n))
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
        counted = sum(value("anomaly_vae_rows_total", MODEL | {"outcome": o}) or 0
                      for o in ("normal", "anomaly"))  # fmt: skip
        assert answered <= counted <= answered + 60 * sum(outcome is not int for outcome in outcomes)
        assert await submit(queue, model, rows_from(7, 1)) is not None

    in_queue(scenario, limit_rows=100_000)


def test_waiting_requests_are_computed_together():
    async def scenario(queue, value):
        model = Echo()
        first = asyncio.create_task(submit(queue, model, rows_from(0, 1)))
        await asyncio.to_thread(model.begun.wait)
        rest = [asyncio.create_task(submit(queue, model, rows_from(10 * i, 3))) for i in range(1, 11)]
        await asyncio.sleep(0.01)
        model.go.set()
        parts = await asyncio.gather(first, *rest)
        assert [part.num_samples[0] for part in parts] == list(range(0, 101, 10))
        assert value("anomaly_vae_batch_rows_count") <= 4  # the first, and tiles of the 30 rows that waited
        assert value("anomaly_vae_batch_rows_sum") == 31

    in_queue(scenario, threads=1)


def test_a_cancelled_request_frees_its_rows_and_is_not_computed():
    async def scenario(queue, value):
        model = Echo()
        first = asyncio.create_task(submit(queue, model, rows_from(0, 1)))
        await asyncio.to_thread(model.begun.wait)
        cancelled = asyncio.create_task(submit(queue, model, rows_from(100, 400)))
        await asyncio.sleep(0.01)
        assert value("anomaly_vae_queue_rows") == 401
        assert value("anomaly_vae_queue_bytes") == 8 * 401
        cancelled.cancel()
        await asyncio.sleep(0.01)
        assert value("anomaly_vae_queue_rows") == 1
        model.go.set()
        await first
        await submit(queue, model, rows_from(1, 1))
        assert model.computed == [0, 1]

    in_queue(scenario, threads=1)


def test_a_request_cancelled_while_it_is_computed_harms_no_other():
    async def scenario(queue, _value):
        model = Echo()
        cancelled = asyncio.create_task(submit(queue, model, rows_from(0, 5)))
        await asyncio.to_thread(model.begun.wait)
        cancelled.cancel()
        await asyncio.sleep(0.01)
        model.go.set()
        for i in range(3):
            assert (await submit(queue, model, rows_from(i, 2))).num_samples.tolist() == [i, i + 1]

    in_queue(scenario, threads=1)


def test_work_past_its_deadline_is_never_computed():
    async def scenario(queue, _value):
        model = Echo()
        first = asyncio.create_task(submit(queue, model, rows_from(0, 1)))
        await asyncio.to_thread(model.begun.wait)
        late = asyncio.create_task(submit(queue, model, rows_from(100, 50), time.monotonic() + 0.05))
        await asyncio.sleep(0.1)
        model.go.set()
        await first
        assert (await error_of(late)).code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert (await error_of(submit(queue, model, rows_from(1, 1), time.monotonic()))).code is (
            grpc.StatusCode.DEADLINE_EXCEEDED
        )
        assert model.computed == [0]

    in_queue(scenario, threads=1)


def test_requests_that_are_cut_off_become_unavailable():
    async def scenario(queue, value):
        model = Echo()
        tasks = [asyncio.create_task(submit(queue, model, rows_from(0, n), caller=n)) for n in (100, 200, 300)]
        await asyncio.to_thread(model.begun.wait)
        queue.drain()
        assert queue.cut() == (3, 600)
        for task in tasks:
            error = await error_of(task)
            assert error.code is grpc.StatusCode.UNAVAILABLE
            assert "shutting down" in error.text
        assert queue.cut() == (0, 0)
        assert value("anomaly_vae_queue_rows") == 0
        model.go.set()

    in_queue(scenario)


def test_a_draining_queue_finishes_one_request_after_the_other():
    """Six equal requests of six callers: computed in turns, all would end too late; in sequence, some are in time."""

    async def scenario(queue, _value):
        model = Echo(seconds=1e-4)
        queue.learn(model, OPTIONS, 32, 32 * 1e-3)  # so that batches are small
        tasks = [asyncio.create_task(submit(queue, model, rows_from(1_000 * i, 160), caller=i)) for i in range(6)]
        await asyncio.to_thread(model.begun.wait)
        queue.drain()
        model.go.set()
        await asyncio.gather(*tasks)
        assert len(model.computed) == 6 * 160
        ends = sorted(model.computed.index(1_000.0 * i + 159) for i in range(6))
        assert ends[0] < 2 * 160  # two batches had begun
        assert ends[2] < 4 * 160

    in_queue(scenario, threads=1)


async def explain(queue, model, rows, top, expires=math.inf, caller=None, **options):
    with queue.reservation(model, OPTIONS, len(rows), rows.nbytes, caller) as reservation:
        reservation.take()
        return (await queue.explain(reservation, rows, top, expires, **options)).result


def test_rows_are_explained_in_batches_and_counted():
    """A row takes 50 ms, so a batch has five of them: between two batches the deadline counts, and others get turns."""

    async def scenario(queue, value):
        model = Echo(explained_as=5.0)
        model.go.set()
        queue.learn(model, OPTIONS, 32, 32 * 0.01)
        assert await explain(queue, model, rows_from(3, 12), 2) == [[i, i] for i in range(3, 15)]
        assert value("anomaly_vae_explained_rows_total", MODEL) == 12
        assert value("anomaly_vae_batch_rows_count") == 0

    in_queue(scenario, threads=1)


def test_rows_past_their_deadline_or_without_a_caller_are_not_explained():
    async def scenario(queue, _value):
        model = Echo(explained_as=5.0)
        queue.learn(model, OPTIONS, 32, 32 * 0.05)  # one row in a batch
        late = asyncio.create_task(explain(queue, model, rows_from(0, 50), 1, time.monotonic() + 0.1, check=False))
        gone = asyncio.create_task(explain(queue, model, rows_from(100, 50), 1, caller="gone"))
        await asyncio.to_thread(model.begun.wait)
        await asyncio.sleep(0.15)
        gone.cancel()
        await asyncio.sleep(0.01)
        model.go.set()
        assert (await error_of(late)).code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert await explain(queue, model, rows_from(7, 1), 1) == [[7]]
        assert len(model.computed) <= 3

    in_queue(scenario, threads=1)


def test_rows_to_explain_are_refused_if_too_much_work_of_their_caller_waits():
    """Unless they were admitted for it: a caller cannot get the work of many rows for the price of one."""

    async def scenario(queue, value):
        model = Echo(explained_as=5.0)
        queue.learn(model, OPTIONS, 32, 32 * 0.1)
        first = asyncio.create_task(explain(queue, model, rows_from(0, 90), 1))
        await asyncio.to_thread(model.begun.wait)
        assert value("anomaly_vae_queue_seconds") > 40
        for num_rows, is_refused in ((10, False), (90, True)):
            task = asyncio.create_task(explain(queue, model, rows_from(0, num_rows), 1))
            await asyncio.sleep(0.01)
            assert task.done() == is_refused
            if is_refused:
                assert (await error_of(task)).code is grpc.StatusCode.RESOURCE_EXHAUSTED
            task.cancel()
        with queue.reservation(model, OPTIONS, 90, 720) as reservation:
            reservation.take()  # to score them alone is little work, and goes first
        with queue.reservation(model, OPTIONS, 90, 720) as reservation:
            reservation.then = explain_key(reservation.key, 1)
            with pytest.raises(CallError, match="of this caller's own work come before it"):
                reservation.take()
        model.go.set()
        first.cancel()

    in_queue(scenario, threads=1, limit_seconds=120.0)


def test_the_models_of_one_caller_share_the_time_like_callers():
    """A short request to one model does not wait for a long one to another, nor a long one for a long one."""

    async def scenario(queue, value):
        slow, quick = Echo(), Echo(name="other")
        slow.go.set()
        quick.go.set()
        slow.seconds = quick.seconds = 0.001
        for model in (slow, quick):
            queue.learn(model, OPTIONS, 32, 32 * 0.001)
        first = asyncio.create_task(submit(queue, slow, rows_from(0, 600), caller="a"))
        await asyncio.sleep(0)
        second = asyncio.create_task(submit(queue, quick, rows_from(0, 200), caller="a"))
        await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
        assert second.done()
        assert not first.done()
        assert len(slow.computed) >= 100  # in turns: the long one went on meanwhile
        await first

    in_queue(scenario, threads=1, limit_rows=10_000)
