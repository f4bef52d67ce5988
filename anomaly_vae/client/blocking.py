"""The client for programs without an event loop."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from anomaly_vae.client.connection import Connection, connection_to
from anomaly_vae.client.credentials import Tls
from anomaly_vae.client.requests import schema_of
from anomaly_vae.client.session import Line, Session, Transport
from anomaly_vae.densities import FloatArray
from anomaly_vae.errors import ServiceError
from anomaly_vae.schema import Schema
from anomaly_vae.scores import Flags, Scores, warn_uncalibrated
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub

__all__ = ["Client"]

# So that the service has the next part at hand when it is done with one.
_PARTS_AT_A_TIME = 2

Found = TypeVar("Found")


class Client:
    """A connection to a scoring service; use it as a context manager. Calls from several threads are safe.

    Many rows go in several calls, two of them under way at a time; scores come back in the order of the rows, and the
    first call that fails ends the others. A call that fails because the service is not there (UNAVAILABLE), or has too
    many rows waiting (RESOURCE_EXHAUSTED with RetryInfo), is sent again after a random wait that grows, and is never
    shorter than the service asks for. If the timeout would pass meanwhile, its error is raised at once.

    Example:
        with Client("127.0.0.1:50051") as client:
            scores = client.score(X)
    """

    def __init__(
        self,
        target: str,
        *,
        model_name: str = "",
        model_version: str = "",
        timeout: float | None = 60.0,
        retries: int = 5,
        tls: Tls | None = None,
        token: str | None = None,
    ) -> None:
        """Connect lazily.

        Args:
            target: "host:port", in plaintext unless ``tls`` is given; "grpc://host:port" for plaintext,
                "grpcs://host:port" for TLS.
            model_name: The model meant; empty for whatever is served.
            model_version: Its version; empty for whatever is served.
            timeout: Seconds each call may take, with all its retries; None for ever. Many rows go in several calls,
                so that the whole may take longer.
            retries: How often a call is sent again, at most; 0 for never.
            tls: Whom to trust, and a certificate of one's own; None for the public authorities and no certificate.
            token: Proves to the service who calls, by TLS or on this machine only. None for that of the environment
                variable ANOMALY_VAE_TOKEN, if it is set; empty for none.

        Raises:
            ConfigError: One of these cannot be, or a file of ``tls`` cannot be used.
        """
        self._connection = connection_to(
            target,
            model_name=model_name,
            model_version=model_version,
            timeout=timeout,
            retries=retries,
            tls=tls,
            token=token,
        )
        self._channel = _Channel(self._connection)
        self._session = Session(self._connection, self._channel)

    def __repr__(self) -> str:
        """The address; never the token."""
        return f"Client({str(self._connection.target)!r})"

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection; calls under way fail."""
        self._channel.close()

    def wait_until_ready(self, timeout: float = 30.0) -> None:
        """Wait until the service answers and its model is loaded.

        Raises:
            ServiceError: It did not within the timeout, in seconds.
        """
        _finish(self._session.wait_until_ready(timeout))

    def get_model(self) -> pb.Model:
        """What is served, asked anew: columns, threshold, calibration, estimator, limits.

        Raises:
            ServiceError: The call failed.
        """
        return _finish(self._session.get_model())

    @property
    def model(self) -> pb.Model:
        """:meth:`get_model` as it was when last asked."""
        return _finish(self._session.model())

    @property
    def schema(self) -> Schema:
        """The model's columns; ``schema.names`` lists them in order."""
        return schema_of(self.model)

    @property
    def num_samples(self) -> int:
        """The calibrated budget of decoder evaluations a row."""
        return int(self.model.estimator.num_samples)

    @property
    def threshold(self) -> float:
        """Rows with a score strictly below it are anomalies, nats in data units."""
        return float(self.model.calibration.threshold)

    def score(self, data: Any, num_samples: int | None = None, max_std_error: float | None = None) -> Scores:
        """Score every row, or none, as :meth:`anomaly_vae.scorer.Scorer.score` does, with the same bits.

        Args:
            data: Rows in data units: an array (N, D) in the model's order, a DataFrame or an Arrow table with its
                columns in any order.
            num_samples: Another budget than the calibrated one; then there is no p-value and no flag.
            max_std_error: Stop at a row when its standard error is at most this, nats; no p-value and no flag either.

        Raises:
            InvalidInput: Columns missing, text where numbers are expected, or an infinite value.
            ConfigError: A budget or an error that cannot be.
            Overloaded: Too many rows wait at the service.
            ServiceError: The call failed for another reason.
        """
        scores = _finish(self._session.score(data, num_samples, max_std_error))
        warn_uncalibrated(num_samples, self.num_samples, max_std_error)
        return scores

    def flag(self, data: Any) -> Flags:
        """Decide only which rows are anomalies, as :meth:`anomaly_vae.scorer.Scorer.flag` does.

        Args:
            data: As for :meth:`score`.

        Raises:
            InvalidInput, Overloaded, ServiceError: As for :meth:`score`.
        """
        return _finish(self._session.flag(data))

    def score_rows(
        self,
        rows: FloatArray,
        num_samples: int | None = None,
        target_fpr: float | None = None,
        max_std_error: float | None = None,
    ) -> Scores:
        """:meth:`score` of float64 rows (N, D) in the order of :attr:`schema`; the service has one target only."""
        return _finish(self._session.score_rows(rows, num_samples, target_fpr, max_std_error))

    def flag_rows(self, rows: FloatArray, target_fpr: float | None = None) -> Flags:
        """:meth:`flag` of float64 rows (N, D) in the order of :attr:`schema`; the service has one target only."""
        return _finish(self._session.flag_rows(rows, target_fpr))


class _Channel(Transport):
    """Calls that hold up their thread: nothing here ever suspends."""

    def __init__(self, connection: Connection) -> None:
        self._target = connection.target
        self._metadata = connection.metadata
        self._channel = (
            grpc.insecure_channel(self._target.address, connection.options)
            if connection.credentials is None
            else grpc.secure_channel(self._target.address, connection.credentials, connection.options)
        )
        self._stub = ScoringServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._closed = threading.Event()
        self._together: set[_Calls] = set()

    async def send(self, method: str, request: object, timeout: float | None) -> Any:
        with self.while_open():
            return self.method(method)(request, timeout=timeout, metadata=self._metadata)

    async def sleep(self, seconds: float) -> None:
        self._closed.wait(seconds)

    async def together(self, asks: Iterable[Callable[[Line], Coroutine[Any, Any, Found]]]) -> list[Found]:
        asks = list(asks)
        if len(asks) == 1:
            return [await asks[0](self)]
        calls, found = _Calls(self, self._metadata), dict[int, Found]()
        waiting, lock = iter(enumerate(asks)), threading.Lock()

        def work() -> None:
            while True:
                with lock:
                    i, ask = next(waiting, (-1, None))
                if ask is None:
                    return
                found[i] = _finish(ask(calls))

        self._together.add(calls)
        with ThreadPoolExecutor(_PARTS_AT_A_TIME, thread_name_prefix="anomaly-vae-client") as pool:
            try:
                for worker in as_completed([pool.submit(work) for _ in range(_PARTS_AT_A_TIME)]):
                    worker.result()
            finally:  # also at Ctrl-C: the pool waits for its threads
                calls.cancel()
                self._together.discard(calls)
        return [found[i] for i in range(len(asks))]

    def method(self, name: str) -> Any:
        return getattr(self._stub, name)

    @contextlib.contextmanager
    def while_open(self) -> Iterator[None]:
        """Raise ServiceError if the client is closed, before or meanwhile."""
        self._check_open()
        try:
            yield
        except (ValueError, grpc.FutureCancelledError):  # gRPC's words for it, as the moment has it
            self._check_open()
            raise

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise ServiceError(f"{self._target.address}: the client is closed; make another", code="CANCELLED")

    def close(self) -> None:
        self._closed.set()
        self._channel.close()
        for calls in tuple(self._together):
            calls.cancel()


class _Calls(Line):
    """Calls of one question, in several threads, that end when one of them has failed."""

    def __init__(self, channel: _Channel, metadata: tuple[tuple[str, str], ...]) -> None:
        self._channel = channel
        self._metadata = metadata
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._under_way: set[Any] = set()

    async def send(self, method: str, request: object, timeout: float | None) -> Any:
        with self._channel.while_open():
            with self._lock:
                if self._cancelled.is_set():
                    raise grpc.FutureCancelledError
                call = self._channel.method(method).future(request, timeout=timeout, metadata=self._metadata)
                self._under_way.add(call)
            try:
                return call.result()
            finally:
                with self._lock:
                    self._under_way.discard(call)

    async def sleep(self, seconds: float) -> None:
        self._cancelled.wait(seconds)

    def cancel(self) -> None:
        with self._lock:
            self._cancelled.set()
            under_way = list(self._under_way)
        for call in under_way:
            call.cancel()


def _finish(coroutine: Coroutine[Any, Any, Found]) -> Found:
    """What a coroutine over a transport that never suspends returns: it runs to its end at the first step."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        found: Found = end.value
        return found
    finally:
        coroutine.close()
    raise RuntimeError("a blocking transport suspended")
