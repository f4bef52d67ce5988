"""Train a candidate in a process of its own, beside the one that this process trains.

The process is a plain Python with pipes, not one of multiprocessing's: those run the caller's main module again, which
fails for scripts without a main guard. Job and result are torch files without code, and progress is JSON.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec
import numpy as np
import torch

from anomaly_vae.arrays import FloatArray
from anomaly_vae.columns.schema import Schema
from anomaly_vae.training.config import TrainConfig
from anomaly_vae.training.loop import Evaluation, Progress

__all__ = ["Companion", "Job", "Outcome", "read_frame", "write_frame"]

# Seconds that a process has to end after an interrupt. Chosen, not measured: a step takes milliseconds, and the wait
# covers the import of torch on a busy machine.
_GRACE_S = 20.0

# Seconds between two looks at whether messages can still come. Chosen, not measured: it delays nothing.
_POLL_S = 1.0

_LENGTH = struct.Struct("<cQ")


class Job(NamedTuple):
    """What a companion trains: the arguments of :func:`anomaly_vae.training.fit.fit_model`, and torch's threads."""

    config: TrainConfig
    schema: Schema
    train: FloatArray
    held_out: FloatArray
    threads: int

    def to_bytes(self) -> bytes:
        """Return the job as a torch file of tensors and text."""
        return _packed(
            {
                "config": json.dumps(self.config.to_dict()),
                "schema": msgspec.json.encode(self.schema).decode(),
                "train": torch.from_numpy(np.ascontiguousarray(self.train)),
                "held_out": torch.from_numpy(np.ascontiguousarray(self.held_out)),
                "threads": self.threads,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Job:
        """Return the job of :meth:`to_bytes`."""
        values = torch.load(io.BytesIO(data), weights_only=True)
        return cls(
            TrainConfig(**json.loads(values["config"])),
            msgspec.json.decode(values["schema"], type=Schema),
            values["train"].numpy(),
            values["held_out"].numpy(),
            values["threads"],
        )


class Outcome(NamedTuple):
    """How a companion ended.

    Attributes:
        model: The trained model as in a checkpoint; None without one.
        diverged: The message of the error if the training diverged.
    """

    model: dict[str, Any] | None = None
    diverged: str | None = None

    def to_bytes(self) -> bytes:
        """Return the outcome as a torch file."""
        return _packed(self._asdict())

    @classmethod
    def from_bytes(cls, data: bytes) -> Outcome:
        """Return the outcome of :meth:`to_bytes`."""
        return cls(**torch.load(io.BytesIO(data), weights_only=True))


class Companion:
    """A process that trains one candidate."""

    def __init__(self, job: Job, report: Callable[[Progress], None] | None) -> None:
        """Start the process; the methods call ``report`` in the caller's thread."""
        message = job.to_bytes()
        self._report = report
        self._messages: queue.SimpleQueue[Progress | Outcome] = queue.SimpleQueue()
        self._outcome: Outcome | None = None
        self._timer: threading.Timer | None = None
        # -P: a module in the working directory must not hide one of the same name.
        command = [sys.executable, "-P", "-W", "ignore", "-m", "anomaly_vae.training.companion_process"]
        # A session of its own: the terminal sends Ctrl-C to this process, which passes it on.
        self._process = subprocess.Popen(  # noqa: S603 (our own module)
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(str(Path(path).resolve()) for path in sys.path)},
        )
        self._exchanger = threading.Thread(target=self._exchange, args=(message,), daemon=True)
        self._exchanger.start()

    def is_alive(self) -> bool:
        """Return whether the process may still send messages."""
        return self._exchanger.is_alive()

    def report_so_far(self) -> None:
        """Report the progress that has arrived."""
        while self._outcome is None and not self._messages.empty():
            self._take()

    def wait(self) -> Outcome:
        """Report the progress until the end; an outcome without a model and an error if the process failed."""
        while self._outcome is None:
            self._take()
        return self._outcome

    def interrupt(self) -> None:
        """Ask the process to end early with the best model so far, if any; without an answer it is killed."""
        if self._timer is None:
            with contextlib.suppress(OSError):
                self._process.send_signal(signal.SIGINT)
            self._timer = threading.Timer(_GRACE_S, self._process.kill)
            self._timer.start()

    def close(self) -> None:
        """Make sure that the process is gone."""
        if self._timer is not None:
            self._timer.cancel()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._exchanger.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def _take(self) -> None:
        try:
            message: Progress | Outcome = self._messages.get(timeout=_POLL_S)
        except queue.Empty:
            if self.is_alive() or not self._messages.empty():
                return
            message = Outcome()  # an interrupt has lost the last message
        if isinstance(message, Outcome):
            self._outcome = message
        elif self._report:
            self._report(message)

    def _exchange(self, job: bytes) -> None:
        """Send the job and queue the messages; the last one is an outcome, whatever happens."""
        outcome = Outcome()
        stdin, stdout = self._process.stdin, self._process.stdout
        try:
            if stdin is None or stdout is None:
                return
            write_frame(stdin, b"J", job)
            while True:
                kind, data = read_frame(stdout)
                if kind == b"O":
                    outcome = Outcome.from_bytes(data)
                    return
                step, max_steps, loss, held_out, best = json.loads(data)
                self._messages.put(Progress(step, max_steps, loss, Evaluation(*held_out), best))
        except (OSError, EOFError, ValueError):
            return
        finally:
            self._messages.put(outcome)


def write_frame(stream: IO[bytes], kind: bytes, data: bytes) -> None:
    """Write a message: its kind, one byte, its length and its bytes."""
    stream.write(_LENGTH.pack(kind, len(data)))
    stream.write(data)
    stream.flush()


def read_frame(stream: IO[bytes]) -> tuple[bytes, bytes]:
    """Read a message of :func:`write_frame`.

    Raises:
        EOFError: The stream ends.
    """
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    kind, length = _LENGTH.unpack(head)
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return kind, data


def _packed(values: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    torch.save(values, file)
    return file.getvalue()
