"""Clients of both kinds that score without a pause and compare every reply bit for bit."""

import asyncio
import contextlib
import threading
import time
from collections import Counter

import numpy as np

from anomaly_vae.client import AsyncClient, Client
from tests.support.running import ARRAYS

__all__ = ["Loops", "looping"]

_MAX_ROWS = 8


class Loops:
    """Four clients with one thread each and four clients in one event loop, all with default options.

    Attributes:
        answered: Number of correct replies, by client.
        wrong: Number of replies with other bits.
        errors: Exceptions that the clients raised.
        longest: Seconds of the longest call.
    """

    def __init__(self, target, rows, expected):
        self.answered = Counter()
        self.wrong = 0
        self.errors = []
        self.longest = 0.0
        self._target, self._rows, self._expected = target, rows, expected
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._run_in_thread, args=(number,)) for number in range(4)]
        self._threads.append(threading.Thread(target=lambda: asyncio.run(self._run_four())))

    def start(self):
        """Start the clients."""
        for thread in self._threads:
            thread.start()

    def stop(self):
        """Stop when the calls in progress are answered; the service must be running."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_until_all_are_answered(self, times=1, seconds=120):
        """Wait until each client has ``times`` more correct replies."""
        before, until = dict(self.answered), time.monotonic() + seconds
        while any(self.answered[number] < before.get(number, 0) + times for number in range(8)):
            assert time.monotonic() < until, (
                f"in {seconds} s, some clients got no reply: {before}, {dict(self.answered)}"
            )
            time.sleep(0.01)

    def _run_in_thread(self, number):
        rng = np.random.default_rng(number)
        with Client(self._target) as client:
            while not self._stop.is_set():
                start, stop = self._some(rng)
                with self._noted(number, start, stop) as got:
                    got.append(client.score(self._rows[start:stop]))

    async def _run_four(self):
        await asyncio.gather(*(self._run(number) for number in range(4, 8)))

    async def _run(self, number):
        rng = np.random.default_rng(number)
        async with AsyncClient(self._target) as client:
            while not self._stop.is_set():
                start, stop = self._some(rng)
                with self._noted(number, start, stop) as got:
                    got.append(await client.score(self._rows[start:stop]))

    def _some(self, rng):
        num_rows = int(rng.integers(1, _MAX_ROWS + 1))
        start = int(rng.integers(len(self._rows) - num_rows + 1))
        return start, start + num_rows

    @contextlib.contextmanager
    def _noted(self, number, start, stop):
        began, got = time.monotonic(), []
        try:
            yield got
        except Exception as error:  # noqa: BLE001 (the test looks at all of them)
            with self._lock:
                self.errors.append(error)
            self._stop.wait(0.1)
            return
        finally:
            with self._lock:
                self.longest = max(self.longest, time.monotonic() - began)
        right = all(
            getattr(got[0], name).tobytes() == getattr(self._expected, name)[start:stop].tobytes() for name in ARRAYS
        )
        with self._lock:
            self.answered[number] += right
            self.wrong += not right


@contextlib.contextmanager
def looping(target, rows, expected):
    """Run :class:`Loops` during the block."""
    loops = Loops(target, rows, expected)
    loops.start()
    try:
        yield loops
    finally:
        loops.stop()
