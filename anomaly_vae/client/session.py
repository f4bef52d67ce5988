"""What a client and a service say to each other, written once for the blocking and the asynchronous client."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Protocol, TypeVar

import grpc
import numpy as np

from anomaly_vae.client.connection import Connection
from anomaly_vae.client.replies import explained, no_scores, retry_delay, to_flags, to_scores
from anomaly_vae.client.requests import Wish, in_parts, refuse_target, schema_of, wish_of
from anomaly_vae.client.retries import seconds_to_wait
from anomaly_vae.densities import FloatArray
from anomaly_vae.errors import ConfigError, InvalidInput, ServiceError
from anomaly_vae.rows import to_rows
from anomaly_vae.scores import Flags, Part, Scores, join
from anomaly_vae.service.pb import scoring_pb2 as pb

__all__ = ["Line", "Session", "Transport"]

_REPLACED = "ABORTED"
_NOT_READY = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED")
_SECONDS_BETWEEN_TRIES = 0.1

Found = TypeVar("Found")


class Line(Protocol):
    """How a call is made and time passes."""

    async def send(self, method: str, request: object, timeout: float | None) -> Any:
        """The reply to one call; grpc.RpcError if it fails."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Transport(Line, Protocol):
    """How several calls are made at a time. If its methods never suspend, those of a session do not either."""

    async def together(self, asks: Iterable[Callable[[Line], Coroutine[Any, Any, Found]]]) -> list[Found]:
        """Ask several things, a few at a time, each by the line it is given; the first error cancels the others.

        Returns:
            What they found, in their order.
        """
        ...


class Session:
    """A conversation with one service.

    Attributes:
        now: Seconds, on a clock that never goes back.
        draw: A random number in [0, 1).
    """

    def __init__(self, connection: Connection, transport: Transport) -> None:
        """Nothing is sent yet."""
        self.now: Callable[[], float] = time.monotonic
        self.draw: Callable[[], float] = random.SystemRandom().random
        self._connection = connection
        self._transport = transport
        self._named = {"model_name": connection.model_name, "model_version": connection.model_version}
        self._described: pb.Model | None = None

    async def wait_until_ready(self, timeout: float) -> None:
        """Ask for the model until it is there."""
        until = self.now() + timeout
        while True:
            left, allowed = max(until - self.now(), 0.001), self._connection.timeout
            try:
                await self._describe(left if allowed is None else min(left, allowed), retries=0)
                return
            except ServiceError as error:
                if error.code not in _NOT_READY or self.now() > until:
                    raise
            await self._transport.sleep(_SECONDS_BETWEEN_TRIES)

    async def get_model(self) -> pb.Model:
        """What is served, asked anew."""
        return await self._describe(self._connection.timeout, self._connection.retries)

    async def model(self) -> pb.Model:
        """What was served when last asked."""
        return self._described or await self.get_model()

    async def score(self, data: Any, num_samples: int | None, max_std_error: float | None) -> Scores:
        """Scores of rows in any form."""

        async def by(model: pb.Model) -> Scores:
            return await self._score(model, to_rows(data, schema_of(model)), num_samples, max_std_error)

        return await self._by_what_is_served(by)

    async def flag(self, data: Any) -> Flags:
        """Decisions on rows in any form."""

        async def by(model: pb.Model) -> Flags:
            return await self._flag(model, to_rows(data, schema_of(model)))

        return await self._by_what_is_served(by)

    async def score_rows(
        self, rows: FloatArray, num_samples: int | None, target_fpr: float | None, max_std_error: float | None
    ) -> Scores:
        """Scores of rows in the order of the model last asked for."""
        refuse_target(target_fpr)
        return await self._score(await self.model(), rows, num_samples, max_std_error)

    async def flag_rows(self, rows: FloatArray, target_fpr: float | None) -> Flags:
        """Decisions on rows in the order of the model last asked for."""
        refuse_target(target_fpr)
        return await self._flag(await self.model(), rows)

    async def _by_what_is_served(self, ask: Callable[[pb.Model], Awaitable[Part]]) -> Part:
        """Ask, and once more if a failure may be due to another model in this one's place, with other columns."""
        model = await self.model()
        try:
            return await ask(model)
        except (InvalidInput, ConfigError, ServiceError) as error:
            if isinstance(error, ServiceError) and error.code != _REPLACED:
                raise
            served = await self.get_model()
            if served.bundle_digest == model.bundle_digest:
                raise
        return await ask(served)

    async def _score(
        self, model: pb.Model, rows: FloatArray, num_samples: int | None, max_std_error: float | None
    ) -> Scores:
        wish = wish_of(model, num_samples, max_std_error)
        if len(rows) == 0:
            calibrated = wish.num_samples == model.estimator.num_samples and max_std_error is None
            return no_scores(calibrated=calibrated)
        return await self._in_parts(model, rows, wish, to_scores)

    async def _flag(self, model: pb.Model, rows: FloatArray) -> Flags:
        if len(rows) == 0:
            return Flags(is_anomaly=np.empty(0, dtype=bool), num_samples=np.empty(0, dtype=np.int64), reason=[])
        return await self._in_parts(
            model, rows, Wish(num_samples=model.estimator.num_samples, flag_only=True), to_flags
        )

    async def _in_parts(
        self, model: pb.Model, rows: FloatArray, wish: Wish, read: Callable[[pb.ScoreResponse, int], Part]
    ) -> Part:
        async def ask(part: FloatArray, line: Line) -> Part:
            connection = self._connection
            request = wish.request(part, **self._named)
            reply = await self._call(line, "Score", request, connection.timeout, connection.retries)
            if reply.bundle_digest != model.bundle_digest:
                text = "another model is served now than a moment ago; score the rows again"
                raise ServiceError(f"{connection.target.address}: {text}", code=_REPLACED)
            return read(reply, len(part))

        parts = in_parts(rows, model, wish.num_samples)
        return join(await self._transport.together([partial(ask, part) for part in parts]))

    async def _describe(self, timeout: float | None, retries: int) -> pb.Model:
        request = pb.GetModelRequest(**self._named)
        described: pb.Model = await self._call(self._transport, "GetModel", request, timeout, retries)
        self._described = described
        return described

    async def _call(self, line: Line, method: str, request: object, timeout: float | None, retries: int) -> Any:
        """The reply to a call, sent again where that may help while there is time."""
        until = None if timeout is None else self.now() + timeout
        tries = 0
        while True:
            tries += 1
            try:
                return await line.send(method, request, None if until is None else max(until - self.now(), 0.0))
            except grpc.RpcError as error:
                wait = seconds_to_wait(error.code(), retry_delay(error), tries, self.draw)
                too_late = wait is None or (until is not None and self.now() + wait >= until)
                if wait is None or too_late or tries > retries:
                    raise explained(error, self._connection) from error
            await line.sleep(wait)
