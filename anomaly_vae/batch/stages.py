"""How long each stage of a job was busy. Stages overlap, so their seconds can be more than those of the job."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from anomaly_vae.progress import Clock

__all__ = ["Stages"]

_Given = TypeVar("_Given")
_Item = TypeVar("_Item")


class Stages:
    """Adds up the seconds of each stage. Each stage belongs to one thread.

    Attributes:
        seconds: By the name of the stage. Time in which a stage waits for another one does not count.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        """Start with no stage."""
        self.seconds: dict[str, float] = {}
        self._clock = clock

    @contextlib.contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Count the time of the block."""
        start = self._clock()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + self._clock() - start

    def taking(self, stage: str, items: Iterable[_Item]) -> Iterator[_Item]:
        """Yield the items; the time that it takes to get them counts."""
        iterator = iter(items)
        while True:
            with self.timing(stage):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def calling(self, stage: str, function: Callable[[_Given], _Item]) -> Callable[[_Given], _Item]:
        """Return the function; the time of its calls counts."""

        def call(given: _Given) -> _Item:
            with self.timing(stage):
                return function(given)

        return call
