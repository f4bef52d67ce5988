"""Secret files that are read again when they change, without a restart."""

from __future__ import annotations

import logging
import math
import os
import stat
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from anomaly_vae.errors import StartupError
from anomaly_vae.service.telemetry.logs import event

__all__ = ["UsableLater", "WatchedFiles"]

_LOG = logging.getLogger("anomaly_vae.service")

# Bytes of a file: 1 MiB. Chosen, not measured: a larger file is most likely the wrong one.
_MAX_BYTES = 2**20
# Times that files are read if they keep changing. Chosen, not measured.
_MAX_READS = 3

Value = TypeVar("Value")
Stamp = tuple[int, ...] | None


class UsableLater(StartupError):
    """The files are correct but must not be used yet.

    Attributes:
        when: When they can be used, in seconds since 1970.
    """

    def __init__(self, message: str, when: float) -> None:
        super().__init__(message)
        self.when = when


class WatchedFiles(Generic[Value]):
    """The value of a group of files. While they cannot be used, it is the last value that could be.

    :meth:`get` checks the files; nothing runs in the background. Threads may call it concurrently.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        load: Callable[[list[bytes]], Value],
        what: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Read the files for the first time.

        Args:
            paths: The files.
            load: Returns the value for their contents. It raises StartupError if they cannot be used; the text must not
                repeat them. It raises UsableLater to be called again at that time, although no file has changed.
            what: The name of the value in the log.
            clock: Seconds since 1970.

        Raises:
            StartupError: A file cannot be read or used.
        """
        self._paths = tuple(paths)
        self._load = load
        self._what = what
        self._clock = clock
        self._usable_from = math.inf
        self._lock = threading.Lock()
        self._value = self._read()

    def get(self) -> Value:
        """Return the value. Read the files again if one has changed, or if they can be used from now on."""
        if not self._is_stale():
            return self._value
        with self._lock:
            if self._is_stale():
                self._reload()
            return self._value

    def _is_stale(self) -> bool:
        return self._stamps() != self._seen or self._clock() >= self._usable_from

    def _reload(self) -> None:
        self._usable_from = math.inf
        try:
            self._value = self._read()
        except StartupError as error:
            level = logging.ERROR
            if isinstance(error, UsableLater):
                level, self._usable_from = logging.WARNING, error.when
            text = "%s; what was read before stays in use"
            _LOG.log(level, text, error, extra=event("reload_failed", what=self._what))
        else:
            _LOG.info("%s: read again", self._what, extra=event("reloaded", what=self._what))

    def _read(self) -> Value:
        """Read and load the files. Try again if that fails and a file has changed during the attempt."""
        for _ in range(_MAX_READS):
            self._seen = self._stamps()
            try:
                value = self._load([_contents(path) for path in self._paths])
            except StartupError as error:
                failure = error
            else:
                return value
            if self._stamps() == self._seen:
                break
        raise failure

    def _stamps(self) -> list[Stamp]:
        return [_stamp(path) for path in self._paths]


def _stamp(path: Path) -> Stamp:
    """Return a value that changes when the file is written or replaced, or when a link gets another target."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _contents(path: Path) -> bytes:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # opening a pipe would block
        try:
            data = _read_file(path, handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise StartupError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > _MAX_BYTES:
        raise StartupError(f"{path} has more than {_MAX_BYTES} bytes; is it the right file?")
    return data


def _read_file(path: Path, handle: int) -> bytes:
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        raise StartupError(f"{path} is not a file")
    with os.fdopen(handle, "rb", closefd=False) as file:
        return file.read(_MAX_BYTES + 1)
