"""Files of secrets, read again when they change, without a restart and without a gap."""

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
from anomaly_vae.service.logs import event

__all__ = ["UsableLater", "Watched"]

_LOG = logging.getLogger("anomaly_vae.service")

_MOST_BYTES = 2**20
_MOST_READINGS = 3

Value = TypeVar("Value")
Stamp = tuple[int, ...] | None


class UsableLater(StartupError):
    """Files are as they should be, but not to be used yet.

    Attributes:
        when: From when on they are, in seconds since 1970.
    """

    def __init__(self, message: str, when: float) -> None:
        super().__init__(message)
        self.when = when


class Watched(Generic[Value]):
    """What files that belong together say; while they cannot be used, what they said before.

    Whoever asks causes the look at the files, so nothing runs in between. Calls from several threads are safe.
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
            load: Makes the value of their contents, or raises StartupError, whose text tells nothing of them; or
                UsableLater, to be called again then though no file has changed.
            what: Names the value in the log.
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
        """The value, made anew if a file has changed since, or if its time has come."""
        if not self._is_stale():
            return self._value
        with self._lock:
            if self._is_stale():
                self._replace()
            return self._value

    def _is_stale(self) -> bool:
        return self._stamps() != self._seen or self._clock() >= self._usable_from

    def _replace(self) -> None:
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
        """The value; files that do not belong together are read again if they changed meanwhile."""
        for _ in range(_MOST_READINGS):
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
    """What changes whenever the file does, be it written, renamed, or a link to another one."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _contents(path: Path) -> bytes:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would keep us waiting
        try:
            data = _read_file(path, handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise StartupError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > _MOST_BYTES:
        raise StartupError(f"{path} has more than {_MOST_BYTES} bytes; is it the right file?")
    return data


def _read_file(path: Path, handle: int) -> bytes:
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        raise StartupError(f"{path} is not a file")
    with os.fdopen(handle, "rb", closefd=False) as file:
        return file.read(_MOST_BYTES + 1)
