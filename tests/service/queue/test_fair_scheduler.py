"""The order in which rows are computed, without threads or clocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_vae.service.callers import Priority
from anomaly_vae.service.queue.fair_scheduler import FairScheduler, ThreadRole
from tests.support.queues import KEY, Key, job

COST = KEY.cost
TILE = 16


def take_all(scheduler, now=0.0):
    batches = []
    while (batch := scheduler.next_batch(now)[0]) is not None:
        batches.append(batch)
    return batches


def ends(scheduler):
    """Return jobs in the order in which their last row is taken."""
    order = []
    for batch in take_all(scheduler):
        order += [share.job for share in batch.shares if share.stop == len(share.job.rows)]
    return order


def test_requests_of_equal_size_go_in_order_of_arrival():
    scheduler, jobs = FairScheduler(), [job(40) for _ in range(5)]
    for one in jobs:
        scheduler.add(one)
    assert ends(scheduler) == jobs


def test_a_short_request_overtakes_a_long_one_that_has_begun():
    scheduler, long, short = FairScheduler(), job(10_000), job(1)
    scheduler.add(long)
    first, _ = scheduler.next_batch(0.0)
    assert [share.job for share in first.shares] == [long]
    scheduler.add(short)
    second, _ = scheduler.next_batch(0.0)
    assert second.shares[0].job is short


def test_a_long_request_is_done_although_short_ones_of_its_caller_keep_coming():
    """Short ones overtake it until the caller has used sixteen times the seconds that it takes."""
    scheduler, long = FairScheduler(), job(1_000)
    scheduler.add(long)
    overtaken = 0
    while long.num_waiting:
        for _ in range(8):
            scheduler.add(job(4))
        batch, _ = scheduler.next_batch(0.0)
        overtaken += sum(share.stop - share.start for share in batch.shares if share.job is not long)
        assert overtaken <= 16 * 1_000 + 100
    assert overtaken > 8 * 1_000


def test_a_closed_loop_of_long_requests_does_not_delay_a_short_one_of_the_same_caller():
    scheduler = FairScheduler()
    for _ in range(4):
        scheduler.add(job(1_024))
    for _ in range(200):  # each of the four has waited longer than its own rows take
        batch, _ = scheduler.next_batch(0.0)
        for share in batch.shares:
            if not share.job.num_waiting:
                scheduler.add(job(1_024))
    short = job(1)
    scheduler.add(short)
    assert scheduler.next_batch(0.0)[0].shares[0].job is short


def in_closed_loops(scheduler, sizes, num_batches):
    """Return the rows taken of each caller, when each always has two requests in flight."""
    handed = dict.fromkeys(sizes, 0)
    for caller, size in [*sizes.items()] * 2:
        scheduler.add(job(size, caller=caller))
    for _ in range(num_batches):
        batch, _ = scheduler.next_batch(0.0)
        for share in batch.shares:
            handed[share.job.caller] += share.stop - share.start
        for share in batch.shares:
            if not share.job.num_waiting:
                scheduler.add(job(sizes[share.job.caller], caller=share.job.caller))
    return handed


def test_callers_share_the_compute_time_evenly_whatever_each_sends():
    """One caller sends 200 rows at a time, one 1,000, one 10,000; all have rows waiting at all times."""
    scheduler = FairScheduler()
    scheduler.costs.learn(COST, 64, 64 * 1e-4)
    handed = in_closed_loops(scheduler, {"a": 200, "b": 1_000, "c": 10_000}, 300)
    assert max(handed.values()) - min(handed.values()) <= 200
    assert sum(handed.values()) > 20_000


@pytest.mark.parametrize("heavies", [1, 48])
def test_one_row_is_next_although_others_have_waited_long_with_many_rows(heavies):
    scheduler = FairScheduler()
    scheduler.costs.learn(COST, 64, 64 * 1e-4)
    in_closed_loops(scheduler, dict.fromkeys(range(heavies), 1024), 500)
    light = job(1, caller="light")
    assert scheduler.seconds_ahead("light", scheduler.costs.seconds(KEY.cost, 1)) <= heavies * 1.0001e-4
    scheduler.add(light)
    batches = [scheduler.next_batch(0.0)[0] for _ in range(2)]
    assert light in [share.job for batch in batches for share in batch.shares]


def test_a_caller_that_comes_back_has_saved_up_no_time():
    scheduler = FairScheduler()
    scheduler.add(job(16, caller="idle"))
    scheduler.add(job(100_000, caller="busy"))
    for _ in range(1_000):
        scheduler.next_batch(0.0)
    scheduler.add(job(100_000, caller="idle"))
    shares = [share for _ in range(10) for share in scheduler.next_batch(0.0)[0].shares]
    rows = {name: sum(s.stop - s.start for s in shares if s.job.caller == name) for name in ("idle", "busy")}
    assert abs(rows["idle"] - rows["busy"]) <= 32


def test_callers_are_charged_for_the_time_of_their_rows_and_not_for_their_number():
    """The rows of one caller take ten times as long as predicted, so it gets a tenth of the other's rows."""
    scheduler, handed = FairScheduler(), {"slow": 0, "fast": 0}
    scheduler.costs.learn(COST, 64, 64 * 1e-4)
    slow, fast = Key(512), Key(256)  # different keys, so that they share no batch
    for work in (slow, fast):
        scheduler.costs.learn(work.cost, 64, 64 * 1e-4)
    scheduler.add(job(1_000_000, slow, caller="slow"))
    scheduler.add(job(1_000_000, fast, caller="fast"))
    for _ in range(300):
        batch, _ = scheduler.next_batch(0.0)
        (share,) = batch.shares
        handed[share.job.caller] += batch.num_rows
        scheduler.settle(batch, batch.num_rows * (1e-3 if share.job.caller == "slow" else 1e-4))
    assert handed["fast"] / handed["slow"] == pytest.approx(10, rel=0.2)


def test_a_prediction_that_was_too_high_does_not_delay_a_new_caller():
    scheduler = FairScheduler()
    scheduler.costs.learn(COST, 64, 64 * 1.0)
    scheduler.add(job(1_000, caller="heavy"))
    for _ in range(5):
        batch, _ = scheduler.next_batch(0.0)
        scheduler.settle(batch, batch.num_rows * 1e-4)
    light = job(1, caller="light")
    scheduler.add(light)
    assert scheduler.next_batch(0.0)[0].shares[0].job is light


def test_while_draining_the_shortest_request_of_all_callers_goes_first():
    scheduler = FairScheduler()
    for caller, size in enumerate((1_000, 3_000, 500, 2_000)):
        scheduler.add(job(size, caller=caller))
    for _ in range(4):
        scheduler.next_batch(0.0)
    scheduler.drain()
    scheduler.add(job(50, caller="last"))
    assert [one.caller for one in ends(scheduler)] == ["last", 2, 0, 3, 1]


def test_a_thread_for_short_requests_takes_only_whole_short_ones():
    scheduler, short = FairScheduler(), [job(10, caller=i) for i in range(2)]
    scheduler.add(job(17, caller="long"))
    assert scheduler.next_batch(0.0, role=ThreadRole.SHORT) == (None, [])
    assert not scheduler.is_short
    for one in short:
        scheduler.add(one)
    assert scheduler.is_short
    for one in short:  # 20 rows are more than a tile
        batch, _ = scheduler.next_batch(0.0, role=ThreadRole.SHORT)
        assert [(share.job, share.stop) for share in batch.shares] == [(one, 10)]


def test_a_spare_thread_takes_full_batches_only():
    scheduler = FairScheduler()
    scheduler.add(job(31))
    assert scheduler.next_batch(0.0, role=ThreadRole.FULL_BATCH) == (None, [])
    scheduler.add(job(1))
    assert scheduler.next_batch(0.0, role=ThreadRole.FULL_BATCH)[0].num_rows == 32


def test_accounts_of_idle_callers_are_forgotten():
    scheduler = FairScheduler()
    scheduler.add(job(10**6, caller="heavy"))
    for i in range(5_000):
        scheduler.add(job(1, caller=i))
        scheduler.next_batch(0.0)
    assert len(scheduler._classes[Priority.ONLINE].accounts) < 600


def test_only_rows_with_equal_keys_share_a_batch():
    scheduler, other = FairScheduler(), Key(256)
    mine, theirs = [job(3), job(2)], [job(3, other), job(3, other)]
    for one in (mine[0], theirs[0], mine[1], theirs[1]):
        scheduler.add(one)
    batches = take_all(scheduler)
    assert [{share.job.key for share in batch.shares} for batch in batches] in ([{KEY}, {other}], [{other}, {KEY}])
    assert sorted(batch.num_rows for batch in batches) == [5, 6]


def test_a_batch_takes_about_ten_milliseconds_once_the_cost_is_known():
    scheduler = FairScheduler()
    scheduler.add(job(100_000))
    assert scheduler.next_batch(0.0)[0].num_rows == 2 * TILE  # 1,024 samples a row, no measurement yet
    scheduler.costs.learn(COST, 64, 64 * 1e-4)
    assert scheduler.next_batch(0.0)[0].num_rows == 96
    for _ in range(200):
        scheduler.costs.learn(COST, 64, 64 * 0.005)
    assert scheduler.next_batch(0.0)[0].num_rows == 2 * TILE  # the least
    for _ in range(200):
        scheduler.costs.learn(COST, 64, 64 * 1.0)
    assert scheduler.next_batch(0.0)[0].num_rows == 1  # of rows that take this long
    for _ in range(400):
        scheduler.costs.learn(COST, 64, 0.0)
    assert scheduler.next_batch(0.0)[0].num_rows == 1_024


def test_a_short_request_of_slow_rows_is_one_batch():
    """A full batch has fewer rows than it: it is taken as a whole all the same, and no other with it."""
    scheduler = FairScheduler()
    scheduler.costs.learn(COST, 64, 64 * 0.1)
    scheduler.add(job(9))
    scheduler.add(job(9))
    assert scheduler.costs.full_batch(COST) == 2
    assert [scheduler.next_batch(0.0)[0].num_rows for _ in range(2)] == [9, 9]
    assert scheduler.is_empty


def test_idle_threads_share_the_waiting_rows():
    scheduler = FairScheduler()
    scheduler.costs.learn(COST, TILE, 1e-6)
    scheduler.add(job(100))
    assert [scheduler.next_batch(0.0, idle)[0].num_rows for idle in (3, 2, 1)] == [48, 32, 20]


def test_expired_and_dropped_requests_are_never_taken():
    scheduler = FairScheduler()
    late, gone, alive = job(5, expires=1.0), job(5), job(5, expires=3.0)
    for one in (late, gone, alive):
        scheduler.add(one)
    scheduler.drop(gone)
    scheduler.drop(gone)
    batch, expired = scheduler.next_batch(2.0)
    assert [share.job for share in batch.shares] == [alive]
    assert expired == [late]
    assert scheduler.next_batch(2.0) == (None, [])
    assert scheduler.backlog() == 0


def test_a_batch_keeps_its_rows_when_a_request_in_it_is_dropped_before_it_is_computed():
    """Otherwise the rows after it would move up, and other requests would get the wrong scores."""
    scheduler, gone, alive = FairScheduler(), job(3), job(2, first=100)
    scheduler.add(gone)
    scheduler.add(alive)
    batch, _ = scheduler.next_batch(0.0)
    scheduler.drop(gone)
    assert batch.num_rows == 5
    assert sorted(batch.rows()[:, 0].tolist()) == [0, 1, 2, 100, 101]


def test_the_rest_of_a_request_that_expires_midway_is_not_taken():
    scheduler, long = FairScheduler(), job(1_000, expires=1.0)
    scheduler.add(long)
    assert scheduler.next_batch(0.5)[0].num_rows == 2 * TILE
    assert scheduler.next_batch(1.5) == (None, [long])


def test_the_seconds_ahead_of_a_short_request_leave_out_the_long_ones_it_overtakes():
    scheduler = FairScheduler()
    scheduler.costs.learn(COST, TILE, TILE * 0.001)
    scheduler.add(job(1_000))
    scheduler.add(job(10))
    assert scheduler.backlog() == pytest.approx(1.01)
    assert scheduler.seconds_ahead(None, scheduler.costs.seconds(KEY.cost, 1)) == 0
    assert scheduler.seconds_ahead(None, scheduler.costs.seconds(KEY.cost, 100)) == pytest.approx(0.01)
    assert scheduler.seconds_ahead(None, scheduler.costs.seconds(KEY.cost, 1_000)) == pytest.approx(1.01)


Operation = st.one_of(
    st.tuples(
        st.just("add"),
        st.integers(1, 300),
        st.sampled_from([16, 256, 1024]),
        st.floats(0, 50),
        st.integers(0, 3),
        st.sampled_from(list(Priority)),
    ),
    st.tuples(st.just("drop"), st.integers(0, 30)),
    st.tuples(st.just("take"), st.integers(1, 4), st.sampled_from(list(ThreadRole))),
    st.tuples(st.just("drain")),
    st.tuples(st.just("learn"), st.sampled_from([16, 256, 1024]), st.floats(0, 1)),
)


@given(st.lists(Operation, max_size=60))
@settings(deadline=None)
def test_every_row_is_taken_once_and_in_order(operations):
    scheduler, jobs, out, late = FairScheduler(), [], {}, []
    now = 0.0

    def take(idle, role=ThreadRole.ANY):
        batch, expired = scheduler.next_batch(now, idle, role)
        late.extend(expired)
        for share in batch.shares if batch else ():
            assert share.job.key == batch.key
            assert share.job.expires > now
            assert not share.job.is_dropped
            assert share.start == out.get(id(share.job), 0)
            out[id(share.job)] = share.stop
        if batch:
            scheduler.settle(batch, 1e-3)
            assert 0 < batch.num_rows <= 1_024
            np.testing.assert_array_equal(
                batch.rows(), np.concatenate([one.rows[start:stop] for one, start, stop, _ in batch.shares])
            )
        return batch

    for number, (name, *arguments) in enumerate(operations):
        now = float(number)
        if name == "add":
            num_rows, samples, life, caller, priority = arguments
            jobs.append(job(num_rows, Key(samples), now + life, caller=caller, priority=priority))
            scheduler.add(jobs[-1])
        elif name == "drop" and jobs:
            scheduler.drop(jobs[arguments[0] % len(jobs)])
        elif name == "take":
            take(*arguments)
        elif name == "drain":
            scheduler.drain()
        elif name == "learn":
            scheduler.costs.learn(Key(arguments[0]).cost, 32, arguments[1])
    while take(1):
        pass
    for one in jobs:
        assert one.is_dropped or out[id(one)] == len(one.rows)
    assert all(one.is_dropped for one in late)
    assert scheduler.backlog() == 0
    assert scheduler.is_empty
    assert scheduler.num_callers == 0
    assert not any(caller.rows for group in scheduler._classes.values() for caller in group.accounts.values())


def test_rows_to_explain_are_no_short_request_unless_they_are_little_work():
    """The thread for short requests goes first, so long work in it would delay those of other callers."""
    scheduler, key = FairScheduler(), Key(work=4.0)
    scheduler.add(job(5, key=key, caller="explains"))
    assert scheduler.next_batch(0.0, role=ThreadRole.SHORT) == (None, [])
    assert not scheduler.is_short
    scheduler.add(job(4, key=key, caller="few"))
    assert scheduler.next_batch(0.0, role=ThreadRole.SHORT)[0].num_rows == 4


def two_classes(seconds=1e-3):
    """A scheduler for which every row takes this long, and the seconds of a tile."""
    scheduler = FairScheduler()
    scheduler.costs.learn(COST, 64, 64 * seconds)
    return scheduler, TILE * seconds


def batch_job(num_rows, **more):
    return job(num_rows, priority=Priority.BATCH, **more)


def test_online_rows_go_first_whatever_batch_callers_have_waiting():
    scheduler, _ = two_classes()
    for i in range(20):
        scheduler.add(batch_job(1_000, caller=i))
    for _ in range(5):
        assert scheduler.next_batch(0.0)[0].shares[0].job.priority is Priority.BATCH
        online = job(1, caller="online")
        scheduler.add(online)
        batch, _ = scheduler.next_batch(0.0)
        assert [share.job for share in batch.shares] == [online]


def rows_by_class(scheduler, num_batches, online_callers, batch_callers):
    """Return the rows taken of each class; all callers always have rows waiting. Every class computes as predicted."""
    for i in range(online_callers):
        scheduler.add(job(10**6, caller=i))
    for i in range(batch_callers):
        scheduler.add(batch_job(10**6, caller=i))
    handed = dict.fromkeys(Priority, 0)
    for _ in range(num_batches):
        batch, _ = scheduler.next_batch(0.0)
        assert len({share.job.priority for share in batch.shares}) == 1
        handed[batch.shares[0].job.priority] += batch.num_rows
        scheduler.settle(batch, batch.charged)
    return handed


@pytest.mark.parametrize(("online", "batch"), [(1, 1), (1, 10), (10, 1)])
def test_batch_callers_together_get_a_twentieth_while_online_rows_wait(online, batch):
    handed = rows_by_class(two_classes()[0], 2_000, online, batch)
    assert handed[Priority.BATCH] / sum(handed.values()) == pytest.approx(0.05, abs=0.005)


def test_one_tile_of_batch_rows_is_taken_at_a_time_while_online_rows_wait():
    scheduler, _ = two_classes(1e-5)
    scheduler.add(batch_job(10_000))
    assert scheduler.next_batch(0.0)[0].num_rows > 2 * TILE
    scheduler.add(job(10**6))
    batches = [scheduler.next_batch(0.0)[0] for _ in range(800)]
    sizes = {batch.num_rows for batch in batches if batch.shares[0].job.priority is Priority.BATCH}
    assert sizes == {TILE}


def test_batch_callers_get_all_of_the_time_without_online_rows_and_save_none_up():
    scheduler, _ = two_classes()
    scheduler.add(job(100))
    scheduler.add(batch_job(10**6))
    take = [scheduler.next_batch(0.0)[0].shares[0].job.priority for _ in range(200)]
    assert take[-1] is Priority.BATCH
    scheduler.add(job(10_000))
    take = [scheduler.next_batch(0.0)[0].shares[0].job.priority for _ in range(100)]
    assert take[:5] == [Priority.ONLINE] * 5
    assert 3 <= take.count(Priority.BATCH) <= 12


def test_callers_of_one_class_share_its_time_evenly():
    scheduler, handed = two_classes()[0], {"a": 0, "b": 0}
    for name in handed:
        scheduler.add(batch_job(10**6, caller=name))
    scheduler.add(job(10**6, caller="a"))  # the same caller with both priorities
    for _ in range(2_000):
        for share in scheduler.next_batch(0.0)[0].shares:
            if share.job.priority is Priority.BATCH:
                handed[share.job.caller] += share.stop - share.start
    assert handed["a"] == pytest.approx(handed["b"], abs=TILE)


def test_the_thread_for_short_requests_takes_online_ones_only():
    scheduler, _ = two_classes()
    scheduler.add(batch_job(1))
    assert not scheduler.is_short
    assert scheduler.next_batch(0.0, role=ThreadRole.SHORT) == (None, [])
    scheduler.add(job(1, caller="online"))
    assert scheduler.is_short
    assert scheduler.next_batch(0.0, role=ThreadRole.SHORT)[0].shares[0].job.caller == "online"


def test_in_a_drain_the_shortest_goes_first_whatever_its_priority():
    scheduler, _ = two_classes()
    online, batch = job(100), batch_job(1)
    scheduler.add(online)
    scheduler.add(batch)
    scheduler.drain()
    assert ends(scheduler) == [batch, online]


def seconds_until_done(scheduler, target):
    """Return how long one thread takes until the last row of a job is computed, as predicted."""
    seconds = 0.0
    while target.num_waiting:
        batch, _ = scheduler.next_batch(0.0)
        seconds += batch.charged
        scheduler.settle(batch, batch.charged)
    return seconds


@pytest.mark.parametrize("priority", list(Priority))
@pytest.mark.parametrize(("online", "batch"), [(0, 5_000), (5_000, 0), (500, 5_000), (20_000, 500), (100_000, 100_000)])
@pytest.mark.parametrize("num_rows", [64, 640])
def test_the_seconds_ahead_are_those_until_the_rows_are_done_for_both_classes(priority, online, batch, num_rows):
    scheduler, tile = two_classes()
    for name, waiting, one_class in (("a", online, Priority.ONLINE), ("b", batch, Priority.BATCH)):
        if waiting:
            scheduler.add(job(waiting, caller=name, priority=one_class))
    own = scheduler.costs.seconds(KEY.cost, num_rows)
    predicted = own + scheduler.seconds_ahead("new", own, priority)
    target = job(num_rows, caller="new", priority=priority)
    scheduler.add(target)
    found = seconds_until_done(scheduler, target)
    assert found <= predicted + 22 * tile
    assert found >= 0.9 * predicted - 22 * tile


def test_arriving_online_rows_are_expected_to_go_before_batch_rows():
    """While they take three quarters of the time, batch rows take four times as long, but no longer than its share."""
    scheduler, _ = two_classes()
    scheduler.add(batch_job(1_000, caller="a"))
    ahead = [scheduler.seconds_ahead("a", 1.0, Priority.BATCH, free) for free in (1.0, 0.25, 0.01, 0.0)]
    assert ahead == pytest.approx([1.0, 7.0, 39.0, 39.0])
    assert scheduler.seconds_ahead("b", 1.0, Priority.ONLINE) == pytest.approx(1.0 / 19)


def test_the_load_of_online_rows_is_an_average_over_some_seconds():
    scheduler, now = two_classes()[0], 0.0
    for _ in range(300):
        scheduler.add(job(100))
        scheduler.add(batch_job(100))
        while scheduler.next_batch(now)[0]:
            pass
        now += 0.2
    assert scheduler.online_load(now) == pytest.approx(0.5, rel=0.1)  # 0.1 s of online rows every 0.2 s
    assert scheduler.online_load(now + 60.0) < 1e-5
