"""What a client and a service say to each other, written once for the blocking and the asynchronous client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np

from anomaly_vae.client.calls import Caller, Line
from anomaly_vae.client.connection import Connection
from anomaly_vae.client.replies import no_scores, to_flags, to_scores
from anomaly_vae.client.requests import Wish, in_parts, refuse_target, schema_of, wish_of
from anomaly_vae.densities import FloatArray
from anomaly_vae.errors import ConfigError, InvalidInput, ServiceError
from anomaly_vae.rows import to_rows
from anomaly_vae.scores import Flags, Part, Scores, join
from anomaly_vae.service.pb import scoring_pb2 as pb

__all__ = ["Session", "Transport"]

_REPLACED = "ABORTED"

Found = TypeVar("Found")


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
        caller: Who makes the calls.
    """

    def __init__(self, connection: Connection, transport: Transport) -> None:
        """Nothing is sent yet."""
        self.caller = Caller(connection)
        self._connection = connection
        self._transport = transport
        self._named = {"model_name": connection.model_name, "model_version": connection.model_version}
        self._described: pb.Model | None = None

    async def wait_until_ready(self, timeout: float, first_answer: float | None) -> None:
        """Ask for the model until it is there."""
        await self._describe(timeout, retries=None, first_answer=first_answer)

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
            reply = await self.caller.call(line, "Score", request, connection.timeout, connection.retries)
            if reply.bundle_digest != model.bundle_digest:
                text = "another model is served now than a moment ago; score the rows again"
                raise ServiceError(f"{connection.target.address}: {text}", code=_REPLACED)
            return read(reply, len(part))

        parts = in_parts(rows, model, wish.num_samples)
        return join(await self._transport.together([partial(ask, part) for part in parts]))

    async def _describe(
        self, timeout: float | None, retries: int | None, first_answer: float | None = None
    ) -> pb.Model:
        request = pb.GetModelRequest(**self._named)
        described: pb.Model = await self.caller.call(
            self._transport, "GetModel", request, timeout, retries, first_answer
        )
        self._described = described
        return described
