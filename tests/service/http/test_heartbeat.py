"""Another thread finds out whether an event loop runs."""

import asyncio
import contextlib
import threading
import time

import pytest

from anomaly_vae.service.http.heartbeat import Heartbeat


@contextlib.contextmanager
def loop_in_a_thread():
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def watched():
    with loop_in_a_thread() as loop:
        yield loop


def test_a_running_loop_is_alive(watched):
    heartbeat = Heartbeat(watched)
    assert [asyncio.run(heartbeat.check()) for _ in range(3)] == [(True, "alive")] * 3


def test_a_stuck_loop_is_reported_until_it_runs_again(watched):
    async def scenario():
        heartbeat, go_on = Heartbeat(watched), threading.Event()
        watched.call_soon_threadsafe(go_on.wait, 60)
        first = await heartbeat.check()
        began = time.monotonic()
        more = await asyncio.gather(*(heartbeat.check() for _ in range(100)))
        seconds = time.monotonic() - began
        go_on.set()
        while (await heartbeat.check()) == first:
            await asyncio.sleep(0.01)
        return first, set(more), seconds, await heartbeat.check()

    first, more, seconds, last = asyncio.run(scenario())
    assert first == (False, "the event loop is stuck")
    assert more == {first}
    assert seconds < 2, "a check that is already late waits again"
    assert last == (True, "alive")


def test_a_closed_loop_has_stopped():
    with loop_in_a_thread() as loop:
        heartbeat = Heartbeat(loop)
    assert asyncio.run(heartbeat.check()) == (False, "stopped")


def test_a_late_beat_does_no_harm(watched):
    """The loop that checked is closed by then."""
    go_on = threading.Event()
    watched.call_soon_threadsafe(go_on.wait, 60)

    async def ask_and_leave():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(Heartbeat(watched).check(), 0.05)

    asyncio.run(ask_and_leave())
    go_on.set()
    assert asyncio.run(Heartbeat(watched).check()) == (True, "alive")
