"""Stages of a job that overlap: a thread takes the next items while the caller works on the last one."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

__all__ = ["reading_ahead"]

_Item = TypeVar("_Item")

# Seconds after which a thread that waits for room looks whether it is still wanted. Chosen, not measured.
_LOOK_S = 0.1


class _End:
    """The end of the items, or why there are no more."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


@contextlib.contextmanager
def reading_ahead(items: Iterable[_Item], depth: int) -> Iterator[Iterator[_Item]]:
    """Yield the same items, taken by a thread of their own before they are asked for.

    When the block ends, the thread ends after the item that it is at.

    Args:
        items: Used by that thread only. What it raises is raised where the item is asked for.
        depth: The most items that wait, at least 1. The thread holds one more.
    """
    waiting: queue.Queue[_Item | _End] = queue.Queue(depth)
    stopped = threading.Event()
    thread = threading.Thread(target=_take, args=(items, waiting, stopped), daemon=True)
    thread.start()
    try:
        yield _handed_out(waiting)
    finally:
        stopped.set()
        with contextlib.suppress(queue.Empty):
            while True:
                waiting.get_nowait()
        thread.join()


def _take(items: Iterable[_Item], waiting: queue.Queue[_Item | _End], stopped: threading.Event) -> None:
    error: BaseException | None = None
    try:
        for item in items:
            if not _put(item, waiting, stopped):
                break
    except BaseException as found:  # noqa: BLE001 (raised again by the caller's thread)
        error = found
    _put(_End(error), waiting, stopped)


def _put(item: _Item | _End, waiting: queue.Queue[_Item | _End], stopped: threading.Event) -> bool:
    while not stopped.is_set():
        with contextlib.suppress(queue.Full):
            waiting.put(item, timeout=_LOOK_S)
            return True
    return False


def _handed_out(waiting: queue.Queue[_Item | _End]) -> Iterator[_Item]:
    while not isinstance(item := waiting.get(), _End):
        yield item
    if item.error is not None:
        raise item.error
