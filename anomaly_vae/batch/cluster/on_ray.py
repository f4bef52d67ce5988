"""Score the rows of a table on a Ray cluster: Ray Data sends the parts of the table to a pool of actors, in order."""

# ruff: noqa: E402 (Ray reads the settings when it is imported)

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import re
import signal
import socket
import threading
import time
import warnings
from collections.abc import Generator, Iterator
from typing import Any

# What Ray itself writes to standard error; it reads these when it is imported.
for _name, _value in {
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DATA_LOG_LEVEL": "CRITICAL",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # otherwise it warns of a change to come
}.items():
    os.environ.setdefault(_name, _value)

import pyarrow as pa
import ray
import ray.data
import ray.exceptions
from ray.data import ActorPoolStrategy, DataContext

from anomaly_vae.batch.cluster.messages import unpacked
from anomaly_vae.batch.cluster.worker import ModelFile, PartScorer, Work, work_of
from anomaly_vae.batch.engine import Job
from anomaly_vae.batch.scored import ScoredBatch
from anomaly_vae.errors import ConfigError, ServiceError
from anomaly_vae.table import Table
from anomaly_vae.table.parts import TablePart, cut

__all__ = ["RayEngine"]

# The name of the only column of what actors take and give.
_COLUMN = "item"

# Bytes from which on messages leave an actor: each message with rows is larger, so none waits for the next one. Chosen,
# not measured.
_BLOCK_BYTES = 2**20

# How often a part is scored again after its worker died: one that takes too much memory would kill all of them. An
# actor may start again without a limit, since nodes come and go. Chosen, not measured.
_RETRIES = 4

_LOCAL = "local"

# An address with a port, such as 10.0.0.1:6379 or ray://head:10001, and the seconds in which its computer must answer.
# Chosen, not measured.
_PORT = re.compile(r"(?:ray://)?\[?(?P<host>[^/\[\]]+)\]?:(?P<port>[0-9]+)")
_ANSWER_S = 5.0

_NO_ANSWER = (
    "--address {}: no Ray cluster answers there ({}); give the address of its head node with the port that `ray start` "
    "printed, or local to start one here"
)


class RayEngine:
    """Scores rows on a Ray cluster. See :class:`~anomaly_vae.batch.engine.Engine`.

    Attributes:
        startup_seconds: What the start took: to connect, and to load the model; None until the first rows came.
    """

    def __init__(self, model: ModelFile, *, address: str | None = None, workers: tuple[int, int] | None = None) -> None:
        """Take the model and the size of the pool.

        Args:
            model: Where workers find the model.
            address: Of a cluster; "local" starts one on this computer, which ends with the job. None for the
                environment variable RAY_ADDRESS, or "local" without it.
            workers: The least and the most actors, with one CPU each; None for one per CPU of the cluster.
        """
        self._model, self._workers = model, workers
        self._address = address or os.environ.get("RAY_ADDRESS") or _LOCAL
        self.startup_seconds: float | None = None

    def facts(self) -> dict[str, Any]:
        """Return what a summary for programs says about the engine."""
        seconds = None if self.startup_seconds is None else round(self.startup_seconds, 3)
        return {"engine": "ray", "startup_seconds": seconds}

    @contextlib.contextmanager
    def __call__(self, job: Job, table: Table, start: tuple[int, int]) -> Iterator[Iterator[ScoredBatch]]:
        """See :class:`~anomaly_vae.batch.engine.Engine`.

        Raises:
            ConfigError: The cluster does not answer, or the table is a pipe.
        """
        began = time.monotonic()
        work, parts = work_of(self._model, job, table), cut(table, start)
        if not parts:
            yield iter(())
            return
        with (
            _connected(self._address, self._workers),
            _quiet(),
            contextlib.closing(self._scored(work, parts, table, began)) as scored,
        ):
            yield scored

    def _scored(self, work: Work, parts: list[TablePart], table: Table, began: float) -> Generator[ScoredBatch]:
        """Yield the rows of parts as they come, and leave out files as the workers found."""
        todo, done, total = iter(parts), 0.0, sum(part.size for part in parts)
        table.follow(lambda: (done, total))
        names = work.job.results.names
        for data in _results(work, parts, _pool(self._workers, len(parts))):
            message = unpacked(data, names)
            if self.startup_seconds is None:
                self.startup_seconds = time.monotonic() - began - message.seconds
            if message.error is not None:
                raise message.error
            if message.rows is None:
                done += next(todo).size
            elif message.fragment not in table.skipped:
                yield message.rows
            if message.left_out is not None:
                table.leave_out(message.fragment, message.left_out)


class _Actor:
    """A worker of the pool."""

    def __init__(self, work: bytes) -> None:
        self._scorer = PartScorer(pickle.loads(work))  # noqa: S301 (of the job that runs this code)

    def __call__(self, parts: pa.Table) -> Iterator[pa.Table]:
        for part in parts.column(_COLUMN).to_pylist():
            for message in self._scorer.messages(pickle.loads(part)):  # noqa: S301 (as above)
                yield _table([message])


def _results(work: Work, parts: list[TablePart], workers: tuple[int, int]) -> Iterator[bytes]:
    """Yield the messages about all parts, in their order.

    Raises:
        ServiceError: The cluster failed.
    """
    context = DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    context.target_max_block_size = _BLOCK_BYTES
    context.enable_progress_bars = False
    try:
        with DataContext.current(context):
            items = ray.data.from_arrow([_table([pickle.dumps(part)]) for part in parts])
            for table in _mapped(items, pickle.dumps(work), workers).iter_batches(
                batch_size=None, batch_format="pyarrow"
            ):
                yield from table.column(_COLUMN).to_pylist()
    except (ray.exceptions.RayError, ConnectionError) as error:
        raise ServiceError(f"the Ray cluster failed: {_said(error)}", code="UNAVAILABLE") from error


def _table(items: list[bytes]) -> pa.Table:
    return pa.table([pa.array(items, pa.large_binary())], names=[_COLUMN])


@contextlib.contextmanager
def _connected(address: str, workers: tuple[int, int] | None) -> Iterator[None]:
    """Connect to a cluster, or start one; a connection of the caller is used and stays.

    Raises:
        ConfigError: It does not answer.
    """
    if ray.is_initialized():
        yield
        return
    _knock(address)
    options = {} if workers is None else {"num_cpus": workers[1]}
    here = {"include_dashboard": False, **options} if address == _LOCAL else {}
    try:
        with _own_signals(), _no_stderr():
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, **here)
    except (ConnectionError, ValueError, RuntimeError, OSError, ray.exceptions.RayError) as error:
        raise ConfigError(_NO_ANSWER.format(address, _said(error))) from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise ConfigError if no computer answers at an address with a port: Ray itself tries for minutes."""
    found = _PORT.fullmatch(address)
    if found is None:
        return
    try:
        socket.create_connection((found["host"], int(found["port"])), _ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(_NO_ANSWER.format(address, getattr(error, "strerror", None) or error)) from error


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep our handler of SIGTERM: Ray sets one that ends the process without an error."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and handler is not None:
            signal.signal(signal.SIGTERM, handler)


@contextlib.contextmanager
def _no_stderr() -> Iterator[None]:
    """Drop what the core of Ray writes to standard error when it starts: a line about the level of its log."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray's loggers silent: what is wrong, the error says."""
    loggers = [logging.getLogger(name) for name in ("ray", "ray.data")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _mapped(items: ray.data.Dataset, work: bytes, workers: tuple[int, int]) -> ray.data.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Ray will take the limits of restarts elsewhere
        return items.map_batches(
            _Actor,
            fn_constructor_args=(work,),
            batch_size=None,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(min_size=workers[0], max_size=workers[1]),
            num_cpus=1,
            max_restarts=-1,
            max_task_retries=_RETRIES,
        )


def _pool(workers: tuple[int, int] | None, num_parts: int) -> tuple[int, int]:
    """Return the least and the most actors for so many parts; one per CPU of the cluster if the user says nothing."""
    num_cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))
    least, most = workers or (num_cpus, num_cpus)
    return min(least, num_parts), min(most, num_parts)


def _said(error: BaseException) -> str:
    """Return the last line of an error: those before it are frames of the worker."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
