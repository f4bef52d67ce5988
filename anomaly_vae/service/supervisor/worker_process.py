"""One process of a worker, as the supervisor sees it: started, ready, watched, ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from anomaly_vae.service.supervisor.channel import Channel, ChannelError
from anomaly_vae.service.telemetry.logs import event

__all__ = ["WorkerProcess", "end_of"]

_LOG = logging.getLogger("anomaly_vae.service")

# Seconds, chosen, not measured. A worker that is busy answers within milliseconds, because a thread of its own answers.
_BETWEEN_CHECKS_S = 1.0
_CHECK_S = 3.0  # a worker itself takes 2 s to find that its event loop is stuck, see http/heartbeat.py
_FAILED_CHECKS = 4  # in a row; then the worker is killed: 8 to 16 s after it got stuck. Counted, not timed, so that
# checks after a pause of the whole machine start from a worker that had time to answer.
_IMPORTS_S = 60.0  # until the process has loaded its modules; it cannot answer before
_LAST_MESSAGES_S = 2.0  # to read what the process sent before it ended

# Checks between two snapshots of the metrics: a worker that is killed takes the counts of these seconds with it.
_CHECKS_PER_SNAPSHOT = 5

_MODULE = "anomaly_vae.service.supervisor.worker"

# Called with the process, the kind and the content of a message from it; returns the answer.
OnMessage = Callable[["WorkerProcess", str, dict[str, Any]], Awaitable[Any]]


class WorkerProcess:
    """A process of a worker. ``end`` of the process is when it is gone and its last messages are read.

    Attributes:
        worker: Number of the worker.
        ready_at: When it got ready, seconds of ``time.monotonic``; None before.
        failure: Text and exit code of the error with which it ended, if it could say so.
        draining: Whether it was asked to end.
        kinds: The messages that it can handle.
        became_ready: Set when it gets ready.
    """

    def __init__(self, worker: int, lock: int, on_message: OnMessage) -> None:
        """Prepare.

        Args:
            worker: Number of the worker.
            lock: Descriptor of the file that is locked to write the log.
            on_message: Called for each message from it.
        """
        self.worker = worker
        self.ready_at: float | None = None
        self.failure: tuple[str, int] | None = None
        self.draining = False
        self.kinds: list[str] = []
        self.became_ready = asyncio.Event()
        self._lock = lock
        self._on_message = on_message
        self._is_open = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._channel: Channel | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start a new interpreter, connected by a socket. Raise OSError if the system has no room for it."""
        ours, theirs = socket.socketpair()
        channel = self._channel = Channel(ours, self._receive)
        with theirs:
            self._reading = asyncio.create_task(channel.read(await channel.open()))
            command = [sys.executable, *_interpreter_options(), "-m", _MODULE]
            numbers = [str(theirs.fileno()), str(self._lock), str(self.worker)]
            try:
                # The last await: if it is cancelled, asyncio ends the new process.
                self._process = await asyncio.create_subprocess_exec(
                    *command,
                    *numbers,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), self._lock),
                )
            except BaseException:
                channel.close()
                raise

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid if self._process else 0

    @property
    def is_ready(self) -> bool:
        """Whether it serves."""
        return self.ready_at is not None and not self.draining and self.returncode is None

    @property
    def returncode(self) -> int | None:
        """Exit code, or the negative number of the signal that ended it; None while it runs."""
        return self._process.returncode if self._process else None

    @property
    def served_s(self) -> float:
        """Seconds since it got ready; 0 before."""
        return 0.0 if self.ready_at is None else time.monotonic() - self.ready_at

    @property
    def is_open(self) -> bool:
        """Whether it has loaded its modules, so that it can answer."""
        return self._is_open.is_set() and self.returncode is None

    def set_ready(self, kinds: list[str]) -> None:
        """Note that it serves from now on, and handles messages of these kinds."""
        self.ready_at, self.kinds = time.monotonic(), kinds
        self.became_ready.set()

    async def ended(self) -> int:
        """Wait for its end and return :attr:`returncode`."""
        if self._process is None or self._reading is None:
            return 0
        code = await self._process.wait()
        await asyncio.wait({self._reading}, timeout=_LAST_MESSAGES_S)
        self._reading.cancel()
        return code

    async def request(self, kind: str, content: dict[str, Any] | None = None, seconds: float | None = None) -> Any:
        """Send it a request and return the answer; raise ChannelError if there is none."""
        if self._channel is None:
            raise ChannelError("the process has not started")
        return await self._channel.request(kind, content, seconds)

    async def drain(self) -> None:
        """Ask it to answer its calls and to end. A process that cannot read this ends by :meth:`kill`."""
        self.draining = True
        with contextlib.suppress(ChannelError):
            await self.request("drain", seconds=_CHECK_S)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)

    async def watch(self, on_snapshot: Callable[[list[Any]], None]) -> None:
        """Check every second whether it works, and kill it when it does not; pass on its metrics every 5 s.

        It runs until it is cancelled or the process is gone.
        """
        failed = checks = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_IMPORTS_S):
                await self._is_open.wait()
        while self.returncode is None and failed < _FAILED_CHECKS:
            try:
                await self.request("check", seconds=_CHECK_S)
                failed, checks = 0, checks + 1
                if checks % _CHECKS_PER_SNAPSHOT == 0:
                    on_snapshot(await self.request("metrics", seconds=_CHECK_S))
            except ChannelError:
                failed += 1
            await asyncio.sleep(_BETWEEN_CHECKS_S)
        if self.returncode is None:
            fields = {"worker": self.worker, "pid": self.pid}
            _LOG.error("worker %d does not answer; it is killed", self.worker, extra=event("worker_stuck", **fields))
            self.kill()

    async def _receive(self, kind: str, content: dict[str, Any]) -> Any:
        self._is_open.set()
        if kind == "failed":
            self.failure = content["text"], content["exit_code"]
            return None
        return await self._on_message(self, kind, content)


def end_of(code: int) -> str:
    """Return how a process ended: ``with code 1``, ``by SIGKILL``."""
    if code >= 0:
        return f"with code {code}"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"


def _interpreter_options() -> list[str]:
    """Return the options with which the new interpreter finds the same modules as this one.

    Without -P, ``python -m`` imports from the current folder: right only if this interpreter does so, too.
    """
    flags = {"-I": sys.flags.isolated, "-E": sys.flags.ignore_environment, "-s": sys.flags.no_user_site}
    from_folder = sys.path[:1] in ([""], [os.getcwd()]) and not sys.flags.safe_path  # noqa: PTH109 (a text, as in sys.path)
    return [name for name, is_set in flags.items() if is_set] + ([] if from_folder else ["-P"])
