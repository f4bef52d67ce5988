"""The waiting requests of one caller, without a scheduler."""

from anomaly_vae.service.queue.caller_queue import CallerQueue
from tests.support.queues import KEY, Key, job

OTHER = Key(64)


def queue_of(*entries):
    """A queue of jobs with these orders, numbered as they come."""
    queue = CallerQueue(0)
    for number, (one, order) in enumerate(entries):
        queue.add(one, order, number)
    return queue


def test_the_lowest_order_is_first_and_the_lower_number_breaks_ties():
    early, late, other = job(1), job(1), job(1, OTHER)
    queue = queue_of((late, 2.0), (job(1), 2.0), (other, 1.5), (early, 1.0))
    assert queue.first() is queue.first(KEY) is early
    assert queue.first(OTHER) is other
    early.num_taken = 1
    queue.advance(KEY, 0.0)
    assert queue.first() is other
    assert queue.first(KEY) is late


def test_waiting_rows_are_counted_by_key():
    queue = queue_of((job(3), 1.0), (job(4), 2.0), (job(5, OTHER), 3.0))
    assert queue.rows == {KEY: 7, OTHER: 5}


def test_a_job_moves_forward_by_the_seconds_of_the_rows_taken_from_it():
    """A job with order 5 s goes before one with 4 s once more than 1 s of its rows is taken."""
    begun, other = job(10), job(10)
    queue = queue_of((begun, 4.5), (other, 4.0))
    assert queue.first() is other
    other.num_taken = 9
    queue.advance(KEY, 0.25)
    assert [(order, one) for order, one in sorted(queue.jobs(), key=lambda entry: entry[0])] == [
        (3.75, other),
        (4.5, begun),
    ]
    other.num_taken = 10
    queue.advance(KEY, 0.25)
    assert [one for _, one in queue.jobs()] == [begun]


def test_stale_jobs_at_the_front_are_removed_and_only_the_expired_are_returned():
    """A job behind a live one stays in its heap: it is checked when it comes to the front."""
    dropped, expired, alive, behind = job(1), job(1, expires=5.0), job(1), job(1, expires=5.0)
    lone = job(1, OTHER, expires=4.0)
    dropped.is_dropped = True
    queue = queue_of((dropped, 1.0), (expired, 2.0), (alive, 3.0), (behind, 4.0), (lone, 1.0))
    assert set(queue.remove_stale(5.0)) == {expired, lone}
    assert queue.first() is alive
    assert list(queue.heaps) == [KEY]
    assert [one for _, one in queue.jobs()] == [alive, behind]


def test_a_dropped_job_does_not_wait():
    alive, dropped = job(1), job(1)
    queue = queue_of((alive, 1.0), (dropped, 2.0))
    dropped.is_dropped = True
    assert [one for _, one in queue.jobs()] == [alive]
