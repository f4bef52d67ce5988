"""Writes the log in its own thread, so that a slow reader of the log does not slow the service.

Writing to a full pipe blocks until the pipe is read. Here only the writing thread blocks; the others put their lines in
a queue. When the queue is full, new lines are lost. When the log can be written again, it says how many. The
metric ``anomaly_vae_log_lines_lost_total`` counts them at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

__all__ = ["LogWriter"]

_MAX_QUEUED = 1_000  # lines; chosen, not measured: memory against lost lines
_FLUSH_TIMEOUT_S = 2.0  # chosen, not measured: it delays the exit if the log is not read


class LogWriter(logging.Handler):
    """Formats records in the calling thread and writes them in order in another. It never blocks and never raises.

    Attributes:
        lines_lost: Lines lost since the start.
    """

    def __init__(self, stream: TextIO, max_queued: int = _MAX_QUEUED, lock: int | None = None) -> None:
        """Start the thread.

        Args:
            stream: The destination. Its file descriptor is used if it has one: a thread that blocks inside a buffered
                stream holds the stream's lock, and the interpreter could not exit.
            max_queued: Lines in the queue before new ones are lost. The thread may hold as many more.
            lock: Descriptor of a file to lock while writing, so that lines of several processes stay whole: a pipe
                may mix texts of more than 4,096 bytes. The system ends the lock of a process that dies.
        """
        super().__init__()
        self._write = _writer(stream, lock)
        self._max_queued = max_queued
        self._condition = threading.Condition()
        self._lines: list[str] = []
        self._unreported = self.lines_lost = 0
        self._writing = self._closed = False
        threading.Thread(target=self._work, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 (must not raise; logging would print the values of the record)
            line = None
        with self._condition:
            if line is not None and len(self._lines) < self._max_queued and not self._closed:
                self._lines.append(line)
                self._condition.notify_all()
            else:
                self._lose(1)

    def flush(self) -> None:
        """Wait until all lines are written, at most for 2 s."""
        with self._condition:
            self._condition.wait_for(lambda: self._closed or not (self._lines or self._writing), _FLUSH_TIMEOUT_S)

    def close(self) -> None:
        """Stop writing. Lines in the queue and later ones are lost."""
        with self._condition:
            self._closed = True
            self._lines = []
            self._condition.notify_all()
        super().close()

    def _lose(self, lines: int) -> None:
        """Count lines that are lost and not yet reported in the log."""
        self._unreported += lines
        self.lines_lost += lines

    def _work(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._lines or self._closed)
                if self._closed:
                    return
                lines, self._lines = self._lines, []
                lost, self._unreported = self._unreported, 0
                self._writing = True
            if lost:
                lines.append(self.format(_notice(lost)))
            try:
                self._write("".join(f"{line}\n" for line in lines))
            except (OSError, ValueError):  # a full disk, a closed pipe or stream
                newly_lost = len(lines) - bool(lost)
            else:
                lost = newly_lost = 0
            with self._condition:
                self._unreported += lost
                self._lose(newly_lost)
                self._writing = False
                self._condition.notify_all()


def _notice(lost: int) -> logging.LogRecord:
    record = logging.makeLogRecord({"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING"})
    record.created = time.time()
    record.msg = f"{lost} lines were lost here, because the log was read too slowly or could not be written"
    record.fields = {"event": "lines_lost", "lines": lost}
    return record


def _writer(stream: TextIO, lock: int | None) -> Callable[[str], object]:
    with contextlib.suppress(OSError, ValueError):
        number = stream.fileno()
        return lambda text: _write_all(number, text.encode(stream.encoding or "utf-8", errors="backslashreplace"), lock)
    return stream.write


def _write_all(number: int, data: bytes, lock: int | None) -> None:
    with _locked(lock):
        while data:
            try:
                data = data[os.write(number, data) :]
            except BlockingIOError:  # another process that shares the pipe made it non-blocking
                select.select([], [number], [])


@contextlib.contextmanager
def _locked(lock: int | None) -> Iterator[None]:
    if lock is None:
        yield
        return
    fcntl.lockf(lock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.lockf(lock, fcntl.LOCK_UN)
