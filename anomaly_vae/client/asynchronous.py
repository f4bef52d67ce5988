"""The client for programs with an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from anomaly_vae.arrays import FloatArray
from anomaly_vae.client.calls import Sender
from anomaly_vae.client.connection import ConnectionSettings, connection_settings
from anomaly_vae.client.credentials import Tls
from anomaly_vae.client.session import Session, Transport
from anomaly_vae.columns.schema import Schema
from anomaly_vae.errors import ConfigError, ServiceError
from anomaly_vae.explained import Why
from anomaly_vae.record import Tail
from anomaly_vae.score_options import ScoreOptions, warn_uncalibrated
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub

__all__ = ["AsyncClient"]

Result = TypeVar("Result")


class AsyncClient:
    """``Client`` for asyncio, in one event loop; any number of tasks may share it.

    Every method that calls the service is awaited. The threshold and the budget are in the description of the model:
    ``(await client.get_model()).calibration.threshold`` and ``.estimator.num_samples``. The columns are
    ``await client.get_schema()``. Cancelling a task, for example by ``asyncio.timeout``, cancels its calls.

    Example:
        async with AsyncClient("127.0.0.1:50051") as client:
            scores = await client.score(X)
    """

    def __init__(
        self,
        target: str,
        *,
        model_name: str = "",
        model_version: str | int = "",
        timeout: float | None = 60.0,
        retries: int | None = None,
        tls: Tls | None = None,
        token: str | None = None,
        concurrency: int = 4,
    ) -> None:
        """Prepare a connection; it is made when the first call is sent.

        Args:
            target, model_name, model_version, timeout, retries, tls, token: As for ``Client``.
            concurrency: How many calls one ``score`` or ``flag`` sends in parallel.

        Raises:
            ConfigError: An argument is wrong, or a file of ``tls`` cannot be used.
        """
        if concurrency < 1:
            raise ConfigError(f"concurrency must be 1 or more, got {concurrency!r}")
        self._settings = connection_settings(
            target,
            model_name=model_name,
            model_version=model_version,
            timeout=timeout,
            retries=retries,
            tls=tls,
            token=token,
        )
        self._transport = _AsyncTransport(self._settings, concurrency)
        self._session = Session(self._settings, self._transport)

    def __repr__(self) -> str:
        """Return the address; the token is never shown."""
        return f"AsyncClient({str(self._settings.target)!r})"

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls in progress fail."""
        await self._transport.close()

    async def wait_until_ready(self, timeout: float = 30.0, *, first_answer: float | None = None) -> None:
        """As ``Client.wait_until_ready``."""
        await self._session.wait_until_ready(timeout, first_answer)

    async def get_model(self) -> pb.Model:
        """As ``Client.get_model``."""
        return await self._session.get_model()

    async def get_schema(self) -> Schema:
        """Request the model's columns; ``names`` lists them in order, ``shape`` is the shape of its rows."""
        return self._session.schema_of(await self._session.get_model())

    async def score(
        self,
        X: Any,  # noqa: N803 (the name that scikit-learn uses)
        *,
        num_samples: int | None = None,
        max_std_error: float | None = None,
        target_fpr: float | None = None,
        tail: Tail | None = None,
    ) -> Scores:
        """As ``Client.score``."""
        options = ScoreOptions(num_samples=num_samples, max_std_error=max_std_error, target_fpr=target_fpr, tail=tail)
        scores = await self._session.score(X, options)
        warn_uncalibrated(options, (await self._session.model()).estimator.num_samples)
        return scores

    async def flag(
        self,
        X: Any,  # noqa: N803 (scikit-learn's name)
        *,
        target_fpr: float | None = None,
        tail: Tail | None = None,
    ) -> Flags:
        """As ``Client.flag``."""
        return await self._session.flag(X, target_fpr, tail)

    async def explain(
        self,
        X: Any,  # noqa: N803 (scikit-learn's name)
        *,
        top: int = 3,
    ) -> list[list[Why]]:
        """As ``Client.explain``."""
        return await self._session.explain(X, top)

    async def explain_rows(
        self, rows: FloatArray, *, top: int = 3, on_rows: Callable[[int], None] | None = None
    ) -> list[list[Why]]:
        """As ``Client.explain_rows``, in the column order of the last requested model."""
        return await self._session.explain_rows(rows, top, on_rows)

    async def score_rows(
        self,
        rows: FloatArray,
        *,
        num_samples: int | None = None,
        max_std_error: float | None = None,
        target_fpr: float | None = None,
        tail: Tail | None = None,
    ) -> Scores:
        """As ``Client.score_rows``, in the column order of the last requested model."""
        options = ScoreOptions(num_samples=num_samples, max_std_error=max_std_error, target_fpr=target_fpr, tail=tail)
        return await self._session.score_rows(rows, options)

    async def flag_rows(self, rows: FloatArray, *, target_fpr: float | None = None, tail: Tail | None = None) -> Flags:
        """As ``Client.flag_rows``, in the column order of the last requested model."""
        return await self._session.flag_rows(rows, target_fpr, tail)


class _AsyncTransport(Transport):
    """A gRPC channel on the event loop in which the first call is sent."""

    def __init__(self, settings: ConnectionSettings, concurrency: int) -> None:
        self._settings = settings
        self._concurrency = concurrency
        self._channel: grpc.aio.Channel | None = None
        self._stub: Any = None
        self._closed = False

    async def send(self, method: str, request: object, timeout: float | None, *, wait_for_ready: bool = False) -> Any:
        if self._closed:
            raise self._is_closed()
        if self._channel is None:
            self._channel = self._open()
            self._stub = ScoringServiceStub(self._channel)  # type: ignore[no-untyped-call]
        call = getattr(self._stub, method)
        try:
            return await call(request, timeout=timeout, metadata=self._settings.metadata, wait_for_ready=wait_for_ready)
        except grpc.RpcError:
            if self._closed:
                raise self._is_closed() from None
            raise
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and not (task and task.cancelling()):  # closing the channel cancels the call, not the task
                raise self._is_closed() from None
            raise

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def gather(self, tasks: Iterable[Callable[[Sender], Coroutine[Any, Any, Result]]]) -> list[Result]:
        tasks = list(tasks)
        if len(tasks) == 1:
            return [await tasks[0](self)]
        waiting, results = iter(enumerate(tasks)), dict[int, Result]()

        async def work() -> None:
            for i, task in waiting:
                results[i] = await task(self)

        workers = [asyncio.ensure_future(work()) for _ in range(min(self._concurrency, len(tasks)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.wait(workers)
        return [results[i] for i in range(len(tasks))]

    async def close(self) -> None:
        self._closed = True
        if self._channel is not None:
            await self._channel.close()

    def _open(self) -> grpc.aio.Channel:
        address, options = self._settings.target.address, self._settings.options
        if self._settings.credentials is None:
            return grpc.aio.insecure_channel(address, options)
        return grpc.aio.secure_channel(address, self._settings.credentials, options)

    def _is_closed(self) -> ServiceError:
        return ServiceError(f"{self._settings.target.address}: the client is closed; make another", code="CANCELLED")
