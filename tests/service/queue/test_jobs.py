"""Jobs that receive their scores in parts, and the batches that their rows form."""

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest

from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.service.queue.cost_model import CostKey
from anomaly_vae.service.queue.jobs import BatchKey, RowBatch, Share, explain_key
from anomaly_vae.service.served import ExplainOptions
from tests.support.queues import OPTIONS, POISON, Echo, in_queue, job, rows_from, submit, unblocked


def share(one, start=0, stop=None):
    stop = len(one.rows) if stop is None else stop
    return Share(one, start, stop, one.rows[start:stop])


def batch_of(model, *jobs):
    return RowBatch(BatchKey(model, OPTIONS), [share(one) for one in jobs])


def test_parts_that_come_in_any_order_are_answered_in_the_order_of_the_rows():
    one = job(6)
    assert one.put(4, 6, "last", 0.5) == []
    assert one.put(0, 3, "first", 0.25) == []
    assert not one.answer.done()
    assert one.num_left == 1
    assert one.put(3, 4, "middle", 0.125) == ["first", "middle", "last"] == one.answer.result()
    assert one.seconds_computed == 0.875


def test_an_error_of_one_part_is_the_answer():
    one, error = job(6), ValueError("bad")
    assert one.put(0, 3, error, 0.1) == []
    assert one.answer.exception() is error


def test_the_cost_of_a_row_is_that_of_its_options():
    """Requests for flags name no number of samples: their key counts as the calibrated budget."""
    key = ("fraud", "3")
    served = SimpleNamespace(key=key, scorer=SimpleNamespace(num_samples=1024))
    assert BatchKey(served, ScoreOptions(num_samples=64)).cost == CostKey(False, False, 64, model=key)
    assert BatchKey(served, ScoreOptions(num_samples=64, max_std_error=0.1)).cost == CostKey(False, True, 64, model=key)
    assert BatchKey(served, ScoreOptions(flag_only=True)).cost == CostKey(True, False, 1024, model=key)


def test_keys_are_equal_only_for_the_same_model_object_and_options():
    """A model that is loaded again may have other weights: its rows must not share a batch with the former's."""
    one, other = Echo(), Echo()
    assert BatchKey(one, ScoreOptions(num_samples=16)) == BatchKey(one, OPTIONS)
    assert BatchKey(one, OPTIONS) != BatchKey(other, OPTIONS)
    assert BatchKey(one, OPTIONS) != BatchKey(one, ScoreOptions(num_samples=32))


def test_a_batch_has_the_rows_of_its_shares_one_after_the_other():
    one, other = job(10), job(3, first=100)
    batch = RowBatch(BatchKey(unblocked(), OPTIONS), [share(one, 2, 5), share(other)])
    assert batch.num_rows == 6
    assert batch.rows()[:, 0].tolist() == [2, 3, 4, 100, 101, 102]


def test_each_share_gets_its_part_of_the_result():
    whole, parts = batch_of(unblocked(), job(3), job(1, first=50), job(2, first=70)).compute()
    assert whole.num_samples.tolist() == [0, 1, 2, 50, 70, 71]
    assert [part.num_samples.tolist() for part in parts] == [[0, 1, 2], [50], [70, 71]]


def test_a_batch_of_one_share_is_its_own_result():
    whole, (part,) = batch_of(unblocked(), job(3)).compute()
    assert whole is part


@pytest.mark.parametrize("place", [0, 1, 2])
def test_in_a_batch_that_fails_only_the_faulty_share_fails(place):
    jobs = [job(2, first=10 * i) for i in range(3)]
    jobs[place].rows = np.full((2, 1), POISON)
    whole, outcomes = batch_of(unblocked(), *jobs).compute()
    assert whole is None
    assert isinstance(outcomes.pop(place), ValueError)
    assert [part.num_samples.tolist() for part in outcomes] == [[10 * i, 10 * i + 1] for i in range(3) if i != place]


def test_a_faulty_request_fails_alone():
    async def scenario(queue, _value):
        model = Echo()
        first = asyncio.create_task(submit(queue, model, rows_from(0, 1)))
        await asyncio.to_thread(model.begun.wait)
        bad = asyncio.create_task(submit(queue, model, np.array([[3.0], [POISON]])))
        good = [asyncio.create_task(submit(queue, model, rows_from(10 * i, 3))) for i in range(1, 5)]
        await asyncio.sleep(0.01)
        model.go.set()
        outcomes = await asyncio.gather(bad, first, *good, return_exceptions=True)
        assert isinstance(outcomes[0], ValueError)
        assert [part.num_samples[0] for part in outcomes[1:]] == [0, 10, 20, 30, 40]

    in_queue(scenario, threads=1)


def test_rows_to_explain_share_batches_with_others_of_the_same_number_of_columns():
    model = Echo(explained_as=6.5)
    key = explain_key(BatchKey(model, OPTIONS), 3)
    assert key == explain_key(BatchKey(model, ScoreOptions(flag_only=True)), 3) == BatchKey(model, ExplainOptions(3))
    assert key != explain_key(BatchKey(model, OPTIONS), 2)
    assert key.cost == CostKey(False, False, 16, 6.5, ("model", "1"))


def test_a_batch_of_rows_to_explain_gives_each_share_its_own():
    key = explain_key(BatchKey(unblocked(), OPTIONS), 2)
    whole, parts = RowBatch(key, [share(job(2)), share(job(1, first=50))]).compute()
    assert whole == [[0, 0], [1, 1], [50, 50]]
    assert parts == [[[0, 0], [1, 1]], [[50, 50]]]
