"""The exchange between a client and a service, shared by the blocking and the asynchronous client."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Protocol, TypeVar

from anomaly_vae.arrays import FloatArray
from anomaly_vae.client.calls import Caller, Sender
from anomaly_vae.client.connection import ConnectionSettings
from anomaly_vae.client.explanations import check_top, to_explanations
from anomaly_vae.client.model_schema import schema_of
from anomaly_vae.client.replies import empty_flags, empty_scores, to_flags, to_scores
from anomaly_vae.client.requests import budget_of, refuse_target, score_request, split_rows
from anomaly_vae.columns.regions import rows_of_work
from anomaly_vae.columns.rows import to_rows
from anomaly_vae.columns.schema import Schema
from anomaly_vae.errors import ConfigError, InvalidInput, ServiceError
from anomaly_vae.explained import Why
from anomaly_vae.record import Tail
from anomaly_vae.score_options import ScoreOptions
from anomaly_vae.scores import Flags, Scores, join
from anomaly_vae.service.pb import scoring_pb2 as pb

__all__ = ["Session", "Transport"]

# Code of the error for a model that was replaced while its rows were scored, and for one with other columns.
_REPLACED, _OTHER_COLUMNS = "ABORTED", "FAILED_PRECONDITION"
# Models of a service that a request tries, one after the other. Chosen, not measured: a service that changes its model
# more often than every few requests has a fault.
_MOST_MODELS = 16
# Attempts without a pause, and the pause before each further one, seconds. Chosen, not measured: a switch takes no
# time, a rolling update takes some seconds.
_AT_ONCE, _SECONDS_BETWEEN_MODELS = 4, 0.5

Result = TypeVar("Result")


class Transport(Sender, Protocol):
    """Sends calls, several at a time.

    A transport whose methods never suspend makes the methods of :class:`Session` never suspend either.
    """

    async def gather(self, tasks: Iterable[Callable[[Sender], Coroutine[Any, Any, Result]]]) -> list[Result]:
        """Run tasks, a few at a time, each with the sender it is given; the first error cancels the other tasks.

        Returns:
            The results, in the order of the tasks.
        """
        ...


class Session:
    """The exchange with one service.

    Attributes:
        caller: Sends the calls, with retries.
    """

    def __init__(self, settings: ConnectionSettings, transport: Transport) -> None:
        """Prepare; nothing is sent yet."""
        self.caller = Caller(settings)
        self._settings = settings
        self._transport = transport
        # One id for all requests of this client: while a canary is tried, all get the same version.
        self._model_id = {
            "model_name": settings.model_name,
            "model_version": settings.model_version,
            "request_id": secrets.token_hex(8),
        }
        self._model: pb.Model | None = None
        self._schema: tuple[pb.Model, Schema] | None = None

    async def wait_until_ready(self, timeout: float, first_answer: float | None) -> None:
        """Request the model until the service returns it."""
        await self._request_model(timeout, retries=None, first_answer=first_answer)

    async def get_model(self) -> pb.Model:
        """Request the description of the model."""
        return await self._request_model(self._settings.timeout, self._settings.retries)

    async def model(self) -> pb.Model:
        """Return the description of the last request; request it if there was none."""
        return self._model or await self.get_model()

    def schema_of(self, model: pb.Model) -> Schema:
        """Return the model's columns. Those of the last model are kept: 16,384 columns took 0.1 s."""
        known = self._schema
        if known is None or known[0] is not model:
            known = self._schema = (model, schema_of(model))
        return known[1]

    async def score(self, data: Any, options: ScoreOptions) -> Scores:
        """Score rows in any form."""
        refuse_target(options.target_fpr, options.tail)

        async def attempt(model: pb.Model) -> Scores:
            return await self._score(model, to_rows(data, self.schema_of(model)), options)

        return await self._with_current_model(attempt)

    async def flag(self, data: Any, target_fpr: float | None, tail: Tail | None = None) -> Flags:
        """Flag rows in any form."""
        refuse_target(target_fpr, tail)

        async def attempt(model: pb.Model) -> Flags:
            return await self._flag(model, to_rows(data, self.schema_of(model)))

        return await self._with_current_model(attempt)

    async def score_rows(self, rows: FloatArray, options: ScoreOptions) -> Scores:
        """Score rows (N, D) in the column order of :meth:`model`."""
        refuse_target(options.target_fpr, options.tail)
        return await self._with_same_columns(lambda model: self._score(model, rows, options))

    async def flag_rows(self, rows: FloatArray, target_fpr: float | None, tail: Tail | None = None) -> Flags:
        """Flag rows (N, D) in the column order of :meth:`model`."""
        refuse_target(target_fpr, tail)
        return await self._with_same_columns(lambda model: self._flag(model, rows))

    async def explain(self, data: Any, top: int) -> list[list[Why]]:
        """Explain rows in any form."""

        async def attempt(model: pb.Model) -> list[list[Why]]:
            return await self._explain(model, to_rows(data, self.schema_of(model)), top)

        return await self._with_current_model(attempt)

    async def explain_rows(
        self, rows: FloatArray, top: int, on_rows: Callable[[int], None] | None = None
    ) -> list[list[Why]]:
        """Explain rows (N, D) in the column order of :meth:`model`."""
        return await self._with_same_columns(lambda model: self._explain(model, rows, top, on_rows))

    async def _with_current_model(self, attempt: Callable[[pb.Model], Awaitable[Result]]) -> Result:
        """Run an attempt, again as long as the service has another model than the attempt was made for."""
        model = await self.model()
        for i in range(_MOST_MODELS):
            if i >= _AT_ONCE:  # replicas may differ for a while, as in a rolling update
                await self._transport.sleep(_SECONDS_BETWEEN_MODELS)
            try:
                return await attempt(model)
            except (InvalidInput, ConfigError, ServiceError) as error:
                is_replaced = isinstance(error, ServiceError)
                if isinstance(error, ServiceError) and error.code != _REPLACED:
                    raise
                current = await self.get_model()
                if not is_replaced and current.bundle_digest == model.bundle_digest:
                    raise
            model = current
        return await attempt(model)

    async def _with_same_columns(self, attempt: Callable[[pb.Model], Awaitable[Result]]) -> Result:
        """Run an attempt with rows in the columns of the current model, again as :meth:`_with_current_model` does.

        Raises:
            ServiceError: FAILED_PRECONDITION: the service has a model with other columns by now.
        """
        columns = self.schema_of(await self.model()).columns

        async def checked(model: pb.Model) -> Result:
            if self.schema_of(model).columns != columns:
                address = self._settings.target.address
                raise ServiceError(f"{address}: the service has a model with other columns by now", code=_OTHER_COLUMNS)
            return await attempt(model)

        return await self._with_current_model(checked)

    async def _score(self, model: pb.Model, rows: FloatArray, options: ScoreOptions) -> Scores:
        budget = budget_of(options, model)
        if len(rows) == 0:
            reason = options.uncalibrated_reason(model.estimator.num_samples)
            return empty_scores(calibrated=reason is None)
        return join(await self._call(model, rows, options, budget, to_scores))

    async def _flag(self, model: pb.Model, rows: FloatArray) -> Flags:
        if len(rows) == 0:
            return empty_flags()
        return join(await self._call(model, rows, ScoreOptions(flag_only=True), model.estimator.num_samples, to_flags))

    async def _explain(
        self, model: pb.Model, rows: FloatArray, top: int, on_rows: Callable[[int], None] | None = None
    ) -> list[list[Why]]:
        """Explain every row; decisions are the least that a service also returns."""
        top, lock = check_top(top, model), threading.Lock()

        def read(reply: pb.ScoreResponse, num_rows: int) -> list[list[Why]]:
            found = to_explanations(reply, num_rows)
            if on_rows:
                with lock:  # the blocking transport has several threads
                    on_rows(num_rows)
            return found

        options = ScoreOptions(flag_only=True)
        parts = await self._call(model, rows, options, model.estimator.num_samples, read, explain=top)
        return [row for part in parts for row in part]

    async def _call(
        self,
        model: pb.Model,
        rows: FloatArray,
        options: ScoreOptions,
        budget: int,
        read: Callable[[pb.ScoreResponse, int], Result],
        explain: int = 0,
    ) -> list[Result]:
        """Send the rows in as many calls as they need, and return what was read of the replies."""

        async def call(part: FloatArray, sender: Sender) -> Result:
            settings = self._settings
            request = score_request(part, options, budget, schema, **self._model_id, explain=explain)
            reply = await self.caller.call(sender, "Score", request, settings.timeout, settings.retries)
            # Two versions may have the same bundle; the parts of a result have one of them.
            is_other_version = len(part) < len(rows) and reply.model_version != model.version
            if reply.bundle_digest != model.bundle_digest or is_other_version:
                text = "the service has another model than a moment ago; score the rows again"
                raise ServiceError(f"{settings.target.address}: {text}", code=_REPLACED)
            return read(reply, len(part))

        schema = self.schema_of(model)
        parts = split_rows(rows, model, budget, rows_of_work(schema) if explain else 1.0)
        return await self._transport.gather([partial(call, part) for part in parts])

    async def _request_model(
        self, timeout: float | None, retries: int | None, first_answer: float | None = None
    ) -> pb.Model:
        request = pb.GetModelRequest(**self._model_id)
        model: pb.Model = await self.caller.call(self._transport, "GetModel", request, timeout, retries, first_answer)
        self._model = model
        return model
