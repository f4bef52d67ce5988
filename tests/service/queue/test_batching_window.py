"""The window in which small requests are collected."""

import asyncio

from anomaly_vae.service.callers import Priority
from anomaly_vae.service.queue import batching_window
from anomaly_vae.service.queue.batching_window import BatchingWindow
from tests.support.queues import Echo, in_queue, job, rows_from, submit


def test_a_request_cancelled_in_the_batching_window_does_not_block_the_others():
    """The first request of a window starts its timer, which must still run for the others."""

    async def scenario(queue, _value):
        model = Echo()
        model.go.set()
        queue._windows[Priority.ONLINE]._average_in_flight = 5.0  # as with five clients
        first, second = (asyncio.create_task(submit(queue, model, rows_from(i, 2))) for i in (0, 10))
        await asyncio.sleep(0)
        assert len(queue._windows[Priority.ONLINE]._jobs) == 2
        first.cancel()
        assert (await asyncio.wait_for(second, 2)).num_samples.tolist() == [10, 11]
        assert queue._windows[Priority.ONLINE]._rows == 0

    in_queue(scenario, threads=1)


def test_long_requests_in_flight_do_not_hold_back_a_short_one():
    async def scenario(queue, _value):
        model = Echo()
        heavy = [asyncio.create_task(submit(queue, model, rows_from(0, 100), caller=i)) for i in range(8)]
        await asyncio.to_thread(model.begun.wait)
        light = asyncio.create_task(submit(queue, model, rows_from(7, 1), caller="light"))
        await asyncio.sleep(0)
        assert not queue._windows[Priority.ONLINE]._jobs
        model.go.set()
        await asyncio.gather(light, *heavy)

    in_queue(scenario)


class Clock:
    """The time and the timers of an event loop, moved by hand."""

    def __init__(self):
        self.now, self.timers = 100.0, []

    def monotonic(self):
        return self.now

    def call_later(self, seconds, function):
        self.timers.append((self.now + seconds, function))
        return object()

    def advance(self, seconds):
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer[0] <= end]:
            first = min(due, key=lambda timer: timer[0])
            self.timers.remove(first)
            self.now = first[0]
            first[1]()
        self.now = end

    def hold_up(self, seconds):
        """Move the time; timers that are due run late, at its end."""
        self.now += seconds
        late = [timer for timer in self.timers if timer[0] <= self.now]
        self.timers = [timer for timer in self.timers if timer not in late]
        for _, function in late:
            function()


class Window:
    """A window under a clock of its own, as if several small requests were always in flight."""

    def __init__(self, monkeypatch, in_flight=10):
        self.clock, self.passed = Clock(), []
        monkeypatch.setattr(batching_window, "time", self.clock)
        self.window = BatchingWindow(self.clock, self.passed.append)
        for _ in range(in_flight - 1):
            self.add()
        self.window.close()
        self.passed.clear()
        self.clock.advance(1.0)

    def add(self, num_rows=1):
        one = job(num_rows, queued_at=self.clock.now)
        self.window.add(one)
        return one


def test_a_lone_request_is_passed_on_at_once(monkeypatch):
    window = Window(monkeypatch, in_flight=1)
    for _ in range(5):  # one after the other
        one = window.add()
        assert window.passed.pop() == [one]
        window.window.forget(1)


def test_requests_that_come_together_are_passed_on_together_once_none_follows(monkeypatch):
    window, jobs = Window(monkeypatch), []
    for _ in range(4):
        jobs.append(window.add())
        window.clock.advance(0.5 * batching_window._IDLE_S)
    assert window.passed == []
    window.clock.advance(2 * batching_window._IDLE_S)
    assert window.passed == [jobs]


def test_requests_that_came_while_the_event_loop_was_held_up_join_the_window(monkeypatch):
    """A late timer does not say that no request came: those that did are read next."""
    window = Window(monkeypatch)
    first = window.add()
    window.clock.hold_up(10 * batching_window._IDLE_S)
    assert window.passed == []
    second = window.add()
    window.clock.advance(2 * batching_window._IDLE_S)
    assert window.passed == [[first, second]]


def test_no_request_waits_longer_than_the_window_although_others_keep_coming(monkeypatch):
    """Each new request starts the idle time again; the timer runs every idle time, so it is late by one at most."""
    window = Window(monkeypatch)
    first, step = window.add(), 0.6 * batching_window._IDLE_S
    for _ in range(31 - 1):
        if window.passed:
            break
        window.clock.advance(step)
        window.add()
    waited = window.clock.now - first.queued_at
    assert window.passed[0][0] is first
    assert batching_window._MAX_WAIT_S <= waited <= batching_window._MAX_WAIT_S + batching_window._IDLE_S + step


def test_a_full_window_is_passed_on_at_once(monkeypatch):
    window = Window(monkeypatch)
    jobs = [window.add() for _ in range(32)]
    assert window.passed == [jobs]
    jobs = [window.add(32), window.add(32)]
    assert window.passed[1:] == [jobs]


def test_a_dropped_request_is_passed_on_to_no_thread(monkeypatch):
    window = Window(monkeypatch)
    gone, kept = window.add(40), window.add(2)
    assert window.window.drop(gone)
    assert not window.window.drop(gone)
    more = window.add(40)  # 42 rows are no full window
    assert window.passed == []
    window.window.close()
    assert window.passed == [[kept, more]]
    assert not window.window.drop(kept)
