"""The client for programs with an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from anomaly_vae.client.calls import Line
from anomaly_vae.client.connection import Connection, connection_to
from anomaly_vae.client.credentials import Tls
from anomaly_vae.client.requests import schema_of
from anomaly_vae.client.session import Session, Transport
from anomaly_vae.densities import FloatArray
from anomaly_vae.errors import ConfigError, ServiceError
from anomaly_vae.schema import Schema
from anomaly_vae.scores import Flags, Scores, warn_uncalibrated
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub

__all__ = ["AsyncClient"]

Found = TypeVar("Found")


class AsyncClient:
    """:class:`anomaly_vae.client.Client` for asyncio, in one event loop; any number of tasks may share it.

    What asks the service is awaited. There is no attribute that would have to ask: ``(await client.get_model())`` has
    ``calibration.threshold``, ``estimator.num_samples`` and the rest, ``await client.get_schema()`` the columns. A
    cancelled task, such as by ``asyncio.timeout``, cancels its calls.

    Example:
        async with AsyncClient("127.0.0.1:50051") as client:
            scores = await client.score(X)
    """

    def __init__(
        self,
        target: str,
        *,
        model_name: str = "",
        model_version: str = "",
        timeout: float | None = 60.0,
        retries: int | None = None,
        tls: Tls | None = None,
        token: str | None = None,
        concurrency: int = 4,
    ) -> None:
        """Connect lazily.

        Args:
            target, model_name, model_version, timeout, retries, tls, token: As for :class:`anomaly_vae.client.Client`.
            concurrency: How many calls of one :meth:`score` or :meth:`flag` are under way at a time.

        Raises:
            ConfigError: One of these cannot be, or a file of ``tls`` cannot be used.
        """
        if concurrency < 1:
            raise ConfigError(f"concurrency must be 1 or more, got {concurrency!r}")
        self._connection = connection_to(
            target,
            model_name=model_name,
            model_version=model_version,
            timeout=timeout,
            retries=retries,
            tls=tls,
            token=token,
        )
        self._channel = _Channel(self._connection, concurrency)
        self._session = Session(self._connection, self._channel)

    def __repr__(self) -> str:
        """The address; never the token."""
        return f"AsyncClient({str(self._connection.target)!r})"

    async def __aenter__(self) -> Self:
        """The client itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls under way fail."""
        await self._channel.close()

    async def wait_until_ready(self, timeout: float = 30.0, *, first_answer: float | None = None) -> None:
        """As :meth:`anomaly_vae.client.Client.wait_until_ready`."""
        await self._session.wait_until_ready(timeout, first_answer)

    async def get_model(self) -> pb.Model:
        """As :meth:`anomaly_vae.client.Client.get_model`."""
        return await self._session.get_model()

    async def get_schema(self) -> Schema:
        """The model's columns, asked anew; ``names`` lists them in order."""
        return schema_of(await self._session.get_model())

    async def score(self, data: Any, num_samples: int | None = None, max_std_error: float | None = None) -> Scores:
        """As :meth:`anomaly_vae.client.Client.score`."""
        scores = await self._session.score(data, num_samples, max_std_error)
        warn_uncalibrated(num_samples, (await self._session.model()).estimator.num_samples, max_std_error)
        return scores

    async def flag(self, data: Any) -> Flags:
        """As :meth:`anomaly_vae.client.Client.flag`."""
        return await self._session.flag(data)

    async def score_rows(
        self,
        rows: FloatArray,
        num_samples: int | None = None,
        target_fpr: float | None = None,
        max_std_error: float | None = None,
    ) -> Scores:
        """As :meth:`anomaly_vae.client.Client.score_rows`, in the order of the model last asked for."""
        return await self._session.score_rows(rows, num_samples, target_fpr, max_std_error)

    async def flag_rows(self, rows: FloatArray, target_fpr: float | None = None) -> Flags:
        """As :meth:`anomaly_vae.client.Client.flag_rows`, in the order of the model last asked for."""
        return await self._session.flag_rows(rows, target_fpr)


class _Channel(Transport):
    """Calls on the event loop of the first of them."""

    def __init__(self, connection: Connection, concurrency: int) -> None:
        self._connection = connection
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
            return await call(
                request, timeout=timeout, metadata=self._connection.metadata, wait_for_ready=wait_for_ready
            )
        except grpc.RpcError:
            if self._closed:
                raise self._is_closed() from None
            raise
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and not (task and task.cancelling()):  # gRPC says so of a call whose channel was closed
                raise self._is_closed() from None
            raise

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def together(self, asks: Iterable[Callable[[Line], Coroutine[Any, Any, Found]]]) -> list[Found]:
        asks = list(asks)
        if len(asks) == 1:
            return [await asks[0](self)]
        waiting, found = iter(enumerate(asks)), dict[int, Found]()

        async def work() -> None:
            for i, ask in waiting:
                found[i] = await ask(self)

        workers = [asyncio.ensure_future(work()) for _ in range(min(self._concurrency, len(asks)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.wait(workers)
        return [found[i] for i in range(len(asks))]

    async def close(self) -> None:
        self._closed = True
        if self._channel is not None:
            await self._channel.close()

    def _open(self) -> grpc.aio.Channel:
        address, options = self._connection.target.address, self._connection.options
        if self._connection.credentials is None:
            return grpc.aio.insecure_channel(address, options)
        return grpc.aio.secure_channel(address, self._connection.credentials, options)

    def _is_closed(self) -> ServiceError:
        return ServiceError(f"{self._connection.target.address}: the client is closed; make another", code="CANCELLED")
