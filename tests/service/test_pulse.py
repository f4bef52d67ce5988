"""Whether an event loop turns is told from outside of it."""

import asyncio
import contextlib
import threading
import time

import pytest

from anomaly_vae.service.pulse import Pulse


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


def test_a_loop_that_turns_is_alive(watched):
    pulse = Pulse(watched)
    assert [asyncio.run(pulse.check()) for _ in range(3)] == [(True, "alive")] * 3


def test_a_loop_that_is_stuck_is_told_from_one_that_turns_again(watched):
    async def scenario():
        pulse, go_on = Pulse(watched), threading.Event()
        watched.call_soon_threadsafe(go_on.wait, 60)
        first = await pulse.check()
        began = time.monotonic()
        more = await asyncio.gather(*(pulse.check() for _ in range(100)))
        seconds = time.monotonic() - began
        go_on.set()
        while (await pulse.check()) == first:
            await asyncio.sleep(0.01)
        return first, set(more), seconds, await pulse.check()

    first, more, seconds, last = asyncio.run(scenario())
    assert first == (False, "the event loop is stuck")
    assert more == {first}
    assert seconds < 2, "what is known already is waited for again"
    assert last == (True, "alive")


def test_a_loop_that_is_closed_has_stopped():
    with loop_in_a_thread() as loop:
        pulse = Pulse(loop)
    assert asyncio.run(pulse.check()) == (False, "stopped")


def test_an_answer_that_comes_too_late_harms_nothing(watched):
    """The loop that asked is closed by then."""
    go_on = threading.Event()
    watched.call_soon_threadsafe(go_on.wait, 60)

    async def ask_and_leave():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(Pulse(watched).check(), 0.05)

    asyncio.run(ask_and_leave())
    go_on.set()
    assert asyncio.run(Pulse(watched).check()) == (True, "alive")
