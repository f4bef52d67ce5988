"""The order of turns, without threads or clocks."""

import asyncio
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_vae.service.turns import Job, Turns


@dataclass(frozen=True)
class Kind:
    """All that turns ask of a work."""

    num_samples: int = 1024

    @property
    def pace(self):
        return self.num_samples


WORK = Kind()
TILE = 16


def job(num_rows, work=WORK, expires=math.inf, first=0, since=0.0):
    rows = np.arange(first, first + num_rows, dtype=float)[:, None]
    return Job(work, rows, expires, asyncio.Future(loop=LOOP), since)


LOOP = asyncio.new_event_loop()


def take_all(turns, now=0.0):
    batches = []
    while (batch := turns.take(now)[0]) is not None:
        batches.append(batch)
    return batches


def ends(turns):
    """Jobs in the order in which their last row is handed out."""
    order = []
    for batch in take_all(turns):
        order += [share.job for share in batch.shares if share.stop == len(share.job.rows)]
    return order


def test_requests_of_one_size_are_served_as_they_came():
    turns, jobs = Turns(), [job(40) for _ in range(5)]
    for one in jobs:
        turns.add(one)
    assert ends(turns) == jobs


def test_a_short_request_overtakes_a_long_one_that_has_begun():
    turns, long, short = Turns(), job(10_000), job(1)
    turns.add(long)
    first, _ = turns.take(0.0)
    assert [share.job for share in first.shares] == [long]
    turns.add(short)
    second, _ = turns.take(0.0)
    assert second.shares[0].job is short


def test_a_long_request_is_done_however_many_short_ones_keep_coming():
    """It can be overtaken only by what comes within the time its own rows take."""
    turns, long = Turns(), job(1_000)
    turns.add(long)
    overtaken = 0
    while long.waiting:
        for _ in range(8):
            turns.add(job(4))
        batch, _ = turns.take(0.0)
        overtaken += sum(share.stop - share.start for share in batch.shares if share.job is not long)
        assert overtaken <= 2 * 1_000 + 100


def test_rows_of_equal_work_share_a_batch_and_others_never_do():
    turns, other = Turns(), Kind(256)
    mine, theirs = [job(3), job(2)], [job(3, other), job(3, other)]
    for one in (mine[0], theirs[0], mine[1], theirs[1]):
        turns.add(one)
    batches = take_all(turns)
    assert [{share.job.work for share in batch.shares} for batch in batches] in ([{WORK}, {other}], [{other}, {WORK}])
    assert sorted(batch.num_rows for batch in batches) == [5, 6]


def test_a_batch_takes_about_ten_milliseconds_once_the_pace_is_known():
    turns = Turns()
    turns.add(job(100_000))
    assert turns.take(0.0)[0].num_rows == TILE  # 1,024 samples a row, nothing known yet
    turns.learn(WORK, 64, 64 * 1e-4)
    assert turns.take(0.0)[0].num_rows == 96
    for _ in range(200):
        turns.learn(WORK, 64, 64 * 1.0)
    assert turns.take(0.0)[0].num_rows == TILE
    for _ in range(400):
        turns.learn(WORK, 64, 0.0)
    assert turns.take(0.0)[0].num_rows == 1_024


def test_a_row_alone_is_known_to_cost_as_much_as_a_tile():
    turns = Turns()
    turns.learn(WORK, 1, 0.16)
    assert turns.seconds(WORK, 100) == pytest.approx(1.0)


def test_threads_that_are_idle_share_what_waits():
    turns = Turns()
    turns.learn(WORK, TILE, 1e-6)
    turns.add(job(100))
    assert [turns.take(0.0, idle)[0].num_rows for idle in (3, 2, 1)] == [48, 32, 20]


def test_expired_and_dropped_requests_are_never_handed_out():
    turns = Turns()
    late, gone, alive = job(5, expires=1.0), job(5), job(5, expires=3.0)
    for one in (late, gone, alive):
        turns.add(one)
    turns.drop(gone)
    turns.drop(gone)
    batch, expired = turns.take(2.0)
    assert [share.job for share in batch.shares] == [alive]
    assert expired == [late]
    assert turns.take(2.0) == (None, [])
    assert turns.backlog() == 0


def test_a_batch_keeps_its_rows_when_a_request_in_it_is_dropped_before_it_is_computed():
    """Otherwise the rows behind it would move up, and others get its scores."""
    turns, gone, alive = Turns(), job(3), job(2, first=100)
    turns.add(gone)
    turns.add(alive)
    batch, _ = turns.take(0.0)
    turns.drop(gone)
    assert batch.num_rows == 5
    assert sorted(batch.rows()[:, 0].tolist()) == [0, 1, 2, 100, 101]


def test_the_rest_of_a_request_that_expires_midway_is_not_handed_out():
    turns, long = Turns(), job(1_000, expires=1.0)
    turns.add(long)
    assert turns.take(0.5)[0].num_rows == TILE
    assert turns.take(1.5) == (None, [long])


def test_the_wait_of_a_short_request_leaves_out_the_long_ones_it_overtakes():
    turns = Turns()
    turns.learn(WORK, TILE, TILE * 0.001)
    turns.add(job(1_000))
    turns.add(job(10))
    assert turns.backlog() == pytest.approx(1.01)
    assert turns.seconds_before(WORK, 1) == 0
    assert turns.seconds_before(WORK, 100) == pytest.approx(0.01)
    assert turns.seconds_before(WORK, 1_000) == pytest.approx(1.01)


Operation = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 300), st.sampled_from([16, 256, 1024]), st.floats(0, 50)),
    st.tuples(st.just("drop"), st.integers(0, 30)),
    st.tuples(st.just("take"), st.integers(1, 4)),
    st.tuples(st.just("learn"), st.sampled_from([16, 256, 1024]), st.floats(0, 1)),
)


@given(st.lists(Operation, max_size=60))
@settings(deadline=None)
def test_every_row_is_handed_out_once_and_in_order(operations):
    turns, jobs, out, late = Turns(), [], {}, []
    now = 0.0

    def take(idle):
        batch, expired = turns.take(now, idle)
        late.extend(expired)
        for share in batch.shares if batch else ():
            assert share.job.work == batch.work
            assert share.job.expires > now
            assert not share.job.gone
            assert share.start == out.get(id(share.job), 0)
            out[id(share.job)] = share.stop
        if batch:
            assert 0 < batch.num_rows <= 1_024
            np.testing.assert_array_equal(
                batch.rows(), np.concatenate([one.rows[start:stop] for one, start, stop, _ in batch.shares])
            )
        return batch

    for number, (name, *arguments) in enumerate(operations):
        now = float(number)
        if name == "add":
            num_rows, samples, life = arguments
            jobs.append(job(num_rows, Kind(samples), now + life))
            turns.add(jobs[-1])
        elif name == "drop" and jobs:
            turns.drop(jobs[arguments[0] % len(jobs)])
        elif name == "take":
            take(arguments[0])
        elif name == "learn":
            turns.learn(Kind(arguments[0]), 32, arguments[1])
    while take(1):
        pass
    for one in jobs:
        assert one.gone or out[id(one)] == len(one.rows)
    assert all(one.gone for one in late)
    assert turns.backlog() == 0
    assert not turns._lanes
