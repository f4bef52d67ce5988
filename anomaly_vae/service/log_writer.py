"""Lines of the log on their way to a stream, by a thread of their own: a reader that stalls must not stall the service.

A full pipe holds up whoever writes to it until somebody reads. Here that is a thread; all others only queue their
lines. When too many wait, new ones are lost, and the log says how many as soon as it flows again. Until then only the
count of them, which Prometheus asks for, can say so.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
import time
from collections.abc import Callable
from typing import TextIO

__all__ = ["LogWriter"]

_MOST_WAITING = 1_000
_LONGEST_FLUSH = 2.0


class LogWriter(logging.Handler):
    """Formats records where they are made, and writes them in order elsewhere; never waits, never raises.

    Attributes:
        lines_lost: Lines that did not get into the log since the start.
    """

    def __init__(self, stream: TextIO, most_waiting: int = _MOST_WAITING) -> None:
        """Start the thread.

        Args:
            stream: Where to; by its file descriptor if it has one, because a thread that is stuck in a buffered stream
                keeps its lock, and the interpreter could not end.
            most_waiting: Lines that wait before new ones are lost; as many again may be under way.
        """
        super().__init__()
        self._write = _writer(stream)
        self._most_waiting = most_waiting
        self._changed = threading.Condition()
        self._lines: list[str] = []
        self._lost = self.lines_lost = 0
        self._writing = self._closed = False
        threading.Thread(target=self._work, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 (no reason to fail, and logging itself would print what the record holds)
            line = None
        with self._changed:
            if line is not None and len(self._lines) < self._most_waiting and not self._closed:
                self._lines.append(line)
                self._changed.notify_all()
            else:
                self._lose(1)

    def flush(self) -> None:
        """Wait until all lines are written, but not for long: perhaps nobody reads them."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not (self._lines or self._writing), _LONGEST_FLUSH)

    def close(self) -> None:
        """Take and write nothing more."""
        with self._changed:
            self._closed = True
            self._lines = []
            self._changed.notify_all()
        super().close()

    def _lose(self, lines: int) -> None:
        """Count lines that are lost; the log has not told of them yet."""
        self._lost += lines
        self.lines_lost += lines

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._closed)
                if self._closed:
                    return
                lines, self._lines = self._lines, []
                lost, self._lost = self._lost, 0
                self._writing = True
            if lost:
                lines.append(self.format(_notice(lost)))
            try:
                self._write("".join(f"{line}\n" for line in lines))
            except (OSError, ValueError):  # a full disk, a reader gone, a stream closed
                newly_lost = len(lines) - bool(lost)
            else:
                lost = newly_lost = 0
            with self._changed:
                self._lost += lost
                self._lose(newly_lost)
                self._writing = False
                self._changed.notify_all()


def _notice(lost: int) -> logging.LogRecord:
    record = logging.makeLogRecord({"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING"})
    record.created = time.time()
    record.msg = f"{lost} lines were lost here, because the log was not read fast enough or could not be written"
    record.fields = {"event": "lines_lost", "lines": lost}
    return record


def _writer(stream: TextIO) -> Callable[[str], object]:
    with contextlib.suppress(OSError, ValueError):
        number = stream.fileno()
        return lambda text: _write_all(number, text.encode(stream.encoding or "utf-8", errors="backslashreplace"))
    return stream.write


def _write_all(number: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(number, data) :]
        except BlockingIOError:  # somebody who shares the pipe made it so that it does not wait
            select.select([], [number], [])
