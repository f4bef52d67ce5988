"""The order of turns, without threads or clocks."""

import asyncio
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_vae.service.jobs import Job
from anomaly_vae.service.turns import Turns, Wanted


@dataclass(frozen=True)
class Kind:
    """All that turns ask of a work."""

    num_samples: int = 1024

    @property
    def pace(self):
        return self.num_samples


WORK = Kind()
TILE = 16


def job(num_rows, work=WORK, expires=math.inf, first=0, since=0.0, caller=None):
    rows = np.arange(first, first + num_rows, dtype=float)[:, None]
    return Job(work, rows, expires, asyncio.Future(loop=LOOP), since, caller)


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


def test_a_long_request_is_done_however_many_short_ones_of_its_caller_keep_coming():
    """It is overtaken only while its caller uses sixteen times the seconds it takes itself."""
    turns, long = Turns(), job(1_000)
    turns.add(long)
    overtaken = 0
    while long.waiting:
        for _ in range(8):
            turns.add(job(4))
        batch, _ = turns.take(0.0)
        overtaken += sum(share.stop - share.start for share in batch.shares if share.job is not long)
        assert overtaken <= 16 * 1_000 + 100
    assert overtaken > 8 * 1_000


def test_a_closed_loop_of_long_requests_does_not_hold_up_a_short_one_of_the_same_caller():
    turns = Turns()
    for _ in range(4):
        turns.add(job(1_024))
    for _ in range(200):  # each of the four has waited longer than its own rows take
        batch, _ = turns.take(0.0)
        for share in batch.shares:
            if not share.job.waiting:
                turns.add(job(1_024))
    short = job(1)
    turns.add(short)
    assert turns.take(0.0)[0].shares[0].job is short


def in_closed_loops(turns, sizes, num_batches):
    """Rows handed out to each caller, who always has two requests waiting or under way."""
    handed = dict.fromkeys(sizes, 0)
    for caller, size in [*sizes.items()] * 2:
        turns.add(job(size, caller=caller))
    for _ in range(num_batches):
        batch, _ = turns.take(0.0)
        for share in batch.shares:
            handed[share.job.caller] += share.stop - share.start
        for share in batch.shares:
            if not share.job.waiting:
                turns.add(job(sizes[share.job.caller], caller=share.job.caller))
    return handed


def test_callers_share_the_machine_evenly_whatever_each_sends():
    """As long as each has rows waiting: one sends 20, one 100, one 10,000 at a time."""
    turns = Turns()
    turns.pace.learn(WORK, 64, 64 * 1e-4)
    handed = in_closed_loops(turns, {"a": 200, "b": 1_000, "c": 10_000}, 300)
    assert max(handed.values()) - min(handed.values()) <= 200
    assert sum(handed.values()) > 20_000


@pytest.mark.parametrize("heavies", [1, 48])
def test_one_row_is_next_however_much_others_have_waiting_and_for_however_long(heavies):
    turns = Turns()
    turns.pace.learn(WORK, 64, 64 * 1e-4)
    in_closed_loops(turns, dict.fromkeys(range(heavies), 1024), 500)
    light = job(1, caller="light")
    assert turns.seconds_before("light", WORK, 1) <= heavies * 1.0001e-4
    turns.add(light)
    batches = [turns.take(0.0)[0] for _ in range(2)]
    assert light in [share.job for batch in batches for share in batch.shares]


def test_a_caller_that_comes_back_has_saved_up_nothing():
    turns = Turns()
    turns.add(job(16, caller="idle"))
    turns.add(job(100_000, caller="busy"))
    for _ in range(1_000):
        turns.take(0.0)
    turns.add(job(100_000, caller="idle"))
    shares = [share for _ in range(10) for share in turns.take(0.0)[0].shares]
    rows = {name: sum(s.stop - s.start for s in shares if s.job.caller == name) for name in ("idle", "busy")}
    assert abs(rows["idle"] - rows["busy"]) <= 32


def test_callers_pay_for_the_time_their_rows_took_and_not_for_their_number():
    """Rows of one caller take ten times as long as expected: it gets a tenth of the rows the other gets."""
    turns, handed = Turns(), {"slow": 0, "fast": 0}
    turns.pace.learn(WORK, 64, 64 * 1e-4)
    slow, fast = Kind(512), Kind(256)  # of different work, so that each has batches of its own
    for work in (slow, fast):
        turns.pace.learn(work, 64, 64 * 1e-4)
    turns.add(job(1_000_000, slow, caller="slow"))
    turns.add(job(1_000_000, fast, caller="fast"))
    for _ in range(300):
        batch, _ = turns.take(0.0)
        (share,) = batch.shares
        handed[share.job.caller] += batch.num_rows
        turns.settle(batch, batch.num_rows * (1e-3 if share.job.caller == "slow" else 1e-4))
    assert handed["fast"] / handed["slow"] == pytest.approx(10, rel=0.2)


def test_an_estimate_that_was_too_high_does_not_make_a_newcomer_wait():
    turns = Turns()
    turns.pace.learn(WORK, 64, 64 * 1.0)
    turns.add(job(1_000, caller="heavy"))
    for _ in range(5):
        batch, _ = turns.take(0.0)
        turns.settle(batch, batch.num_rows * 1e-4)
    light = job(1, caller="light")
    turns.add(light)
    assert turns.take(0.0)[0].shares[0].job is light


def test_once_drained_the_shortest_go_first_whoever_asks():
    turns = Turns()
    for caller, size in enumerate((1_000, 3_000, 500, 2_000)):
        turns.add(job(size, caller=caller))
    for _ in range(4):
        turns.take(0.0)
    turns.drain()
    turns.add(job(50, caller="last"))
    assert [one.caller for one in ends(turns)] == ["last", 2, 0, 3, 1]


def test_a_thread_for_short_requests_takes_whole_ones_and_nothing_else():
    turns, short = Turns(), [job(10, caller=i) for i in range(2)]
    turns.add(job(17, caller="long"))
    assert turns.take(0.0, wanted=Wanted.SHORT) == (None, [])
    assert not turns.is_short
    for one in short:
        turns.add(one)
    assert turns.is_short
    for one in short:  # 20 rows are more than a tile
        batch, _ = turns.take(0.0, wanted=Wanted.SHORT)
        assert [(share.job, share.stop) for share in batch.shares] == [(one, 10)]


def test_a_spare_thread_takes_full_batches_only():
    turns = Turns()
    turns.add(job(31))
    assert turns.take(0.0, wanted=Wanted.FULL) == (None, [])
    turns.add(job(1))
    assert turns.take(0.0, wanted=Wanted.FULL)[0].num_rows == 32


def test_accounts_of_callers_that_have_gone_are_forgotten():
    turns = Turns()
    turns.add(job(10**6, caller="heavy"))
    for i in range(5_000):
        turns.add(job(1, caller=i))
        turns.take(0.0)
    assert len(turns._lines) < 600


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
    assert turns.take(0.0)[0].num_rows == 2 * TILE  # 1,024 samples a row, nothing known yet
    turns.pace.learn(WORK, 64, 64 * 1e-4)
    assert turns.take(0.0)[0].num_rows == 96
    for _ in range(200):
        turns.pace.learn(WORK, 64, 64 * 1.0)
    assert turns.take(0.0)[0].num_rows == 2 * TILE  # a tile alone would take half as long again for a row
    for _ in range(400):
        turns.pace.learn(WORK, 64, 0.0)
    assert turns.take(0.0)[0].num_rows == 1_024


def test_a_row_alone_is_known_to_cost_as_much_as_a_tile():
    turns = Turns()
    turns.pace.learn(WORK, 1, 0.16)
    assert turns.pace.seconds(WORK, 100) == pytest.approx(1.0)


def test_small_batches_do_not_change_what_is_known_of_the_pace():
    """A row alone takes as long as several do in a batch, or less than its share of a tile."""
    turns = Turns()
    turns.pace.learn(WORK, 64, 64 * 1e-4)
    for _ in range(1_000):
        turns.pace.learn(WORK, 1, 1e-4)
        turns.pace.learn(WORK, 15, 1.0)
    assert turns.pace.seconds(WORK, 100) == pytest.approx(0.01)


def test_a_budget_never_seen_is_expected_to_take_its_share_of_what_is_known():
    turns = Turns()
    turns.pace.expect(2e-6)
    assert turns.pace.seconds(Kind(4_096), 10) == pytest.approx(10 * 4_096 * 2e-6)


def test_threads_that_are_idle_share_what_waits():
    turns = Turns()
    turns.pace.learn(WORK, TILE, 1e-6)
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
    assert turns.take(0.5)[0].num_rows == 2 * TILE
    assert turns.take(1.5) == (None, [long])


def test_the_wait_of_a_short_request_leaves_out_the_long_ones_it_overtakes():
    turns = Turns()
    turns.pace.learn(WORK, TILE, TILE * 0.001)
    turns.add(job(1_000))
    turns.add(job(10))
    assert turns.backlog() == pytest.approx(1.01)
    assert turns.seconds_before(None, WORK, 1) == 0
    assert turns.seconds_before(None, WORK, 100) == pytest.approx(0.01)
    assert turns.seconds_before(None, WORK, 1_000) == pytest.approx(1.01)


Operation = st.one_of(
    st.tuples(
        st.just("add"), st.integers(1, 300), st.sampled_from([16, 256, 1024]), st.floats(0, 50), st.integers(0, 3)
    ),
    st.tuples(st.just("drop"), st.integers(0, 30)),
    st.tuples(st.just("take"), st.integers(1, 4), st.sampled_from(list(Wanted))),
    st.tuples(st.just("drain")),
    st.tuples(st.just("learn"), st.sampled_from([16, 256, 1024]), st.floats(0, 1)),
)


@given(st.lists(Operation, max_size=60))
@settings(deadline=None)
def test_every_row_is_handed_out_once_and_in_order(operations):
    turns, jobs, out, late = Turns(), [], {}, []
    now = 0.0

    def take(idle, wanted=Wanted.ANY):
        batch, expired = turns.take(now, idle, wanted)
        late.extend(expired)
        for share in batch.shares if batch else ():
            assert share.job.work == batch.work
            assert share.job.expires > now
            assert not share.job.gone
            assert share.start == out.get(id(share.job), 0)
            out[id(share.job)] = share.stop
        if batch:
            turns.settle(batch, 1e-3)
            assert 0 < batch.num_rows <= 1_024
            np.testing.assert_array_equal(
                batch.rows(), np.concatenate([one.rows[start:stop] for one, start, stop, _ in batch.shares])
            )
        return batch

    for number, (name, *arguments) in enumerate(operations):
        now = float(number)
        if name == "add":
            num_rows, samples, life, caller = arguments
            jobs.append(job(num_rows, Kind(samples), now + life, caller=caller))
            turns.add(jobs[-1])
        elif name == "drop" and jobs:
            turns.drop(jobs[arguments[0] % len(jobs)])
        elif name == "take":
            take(*arguments)
        elif name == "drain":
            turns.drain()
        elif name == "learn":
            turns.pace.learn(Kind(arguments[0]), 32, arguments[1])
    while take(1):
        pass
    for one in jobs:
        assert one.gone or out[id(one)] == len(one.rows)
    assert all(one.gone for one in late)
    assert turns.backlog() == 0
    assert turns.is_empty
    assert not turns._waiting
