"""Scores rows by a running service: numpy, DataFrame or Arrow table in, Scores out. Needs the [serve] extra."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import numpy as np

from anomaly_vae.config import check_error
from anomaly_vae.densities import FloatArray
from anomaly_vae.errors import ConfigError, InvalidInput, ServiceError
from anomaly_vae.rows import to_rows
from anomaly_vae.schema import Column, Schema
from anomaly_vae.scores import Flags, Part, Scores, join, warn_uncalibrated
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub
from anomaly_vae.service.replies import explained, no_scores, to_flags, to_scores

__all__ = ["Client"]

_SCHEME = "grpc://"
_TARGET = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[^\s:/\[\]]+):[0-9]{1,5}")
_LAST_PORT = 65_535
_LOOPBACK = ("127.", "localhost:", "[::1]:")
_BYTES_PER_CALL = 2**20
_SAMPLES_PER_CALL = 2**22
_REPLACED = "ABORTED"
_SECONDS_BETWEEN_TRIES = 0.1

Reply = TypeVar("Reply")


class Client:
    """A connection to a scoring service; use it as a context manager. Calls from several threads are safe.

    Example:
        with Client("127.0.0.1:50051") as client:
            scores = client.score(X)
    """

    def __init__(
        self, target: str, *, model_name: str = "", model_version: str = "", timeout: float | None = 60.0
    ) -> None:
        """Connect lazily, in plaintext.

        Args:
            target: "host:port" or "grpc://host:port".
            model_name: The model meant; empty for whatever is served.
            model_version: Its version; empty for whatever is served.
            timeout: Seconds each call may take; None for ever.

        Raises:
            ConfigError: The target is no host and port.
        """
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_reconnect_backoff_ms", 1_000),
        ]
        self._target = target.removeprefix(_SCHEME).rstrip("/")
        if not _TARGET.fullmatch(self._target) or int(self._target.rsplit(":", 1)[1]) > _LAST_PORT:
            raise ConfigError(f"{target!r} is no address of a service; give grpc://HOST:PORT, such as 127.0.0.1:50051")
        self._model: dict[str, Any] = {"model_name": model_name, "model_version": model_version}
        self._timeout = None if timeout == math.inf else timeout
        if self._target.startswith(_LOOPBACK):
            options.append(("grpc.enable_http_proxy", 0))  # a proxy of the environment leads off this machine
        self._channel = grpc.insecure_channel(self._target, options)
        self._stub: Any = ScoringServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._described: pb.Model | None = None

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
        until = time.monotonic() + timeout
        while True:
            left = max(until - time.monotonic(), 0.001)
            try:
                self._describe(left if self._timeout is None else min(left, self._timeout))
                return
            except ServiceError as error:
                if error.code not in ("UNAVAILABLE", "DEADLINE_EXCEEDED") or time.monotonic() > until:
                    raise
            time.sleep(_SECONDS_BETWEEN_TRIES)

    def get_model(self) -> pb.Model:
        """What is served, asked anew: columns, threshold, calibration, estimator, limits.

        Raises:
            ServiceError: The call failed.
        """
        return self._describe(self._timeout)

    @property
    def model(self) -> pb.Model:
        """:meth:`get_model` as it was when first asked."""
        return self._described or self.get_model()

    @property
    def schema(self) -> Schema:
        """The model's columns; ``schema.names`` lists them in order."""
        columns = tuple(
            Column(
                name=column.name,
                kind=column.kind,
                value=column.value if column.HasField("value") else None,
                categories=tuple(column.categories) if column.kind == "categorical" else None,
                step=column.step if column.HasField("step") else None,
                origin=column.origin,
            )
            for column in self.model.columns
        )
        return Schema(columns=columns, label=self.model.label or None)

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
        score = partial(self.score_rows, num_samples=num_samples, max_std_error=max_std_error)
        scores = self._retried(lambda: score(to_rows(data, self.schema)))
        warn_uncalibrated(num_samples, self.num_samples, max_std_error)
        return scores

    def flag(self, data: Any) -> Flags:
        """Decide only which rows are anomalies, as :meth:`anomaly_vae.scorer.Scorer.flag` does.

        Args:
            data: As for :meth:`score`.

        Raises:
            InvalidInput, Overloaded, ServiceError: As for :meth:`score`.
        """
        return self._retried(lambda: self.flag_rows(to_rows(data, self.schema)))

    def _retried(self, call: Callable[[], Part]) -> Part:
        """Once more, if a failure may be due to another model in this one's place."""
        try:
            return call()
        except (InvalidInput, ConfigError, ServiceError) as error:
            if not self._has_changed(error):
                raise
            return call()

    def _has_changed(self, error: InvalidInput | ConfigError | ServiceError) -> bool:
        """Whether a failure may be due to another model in this one's place, with other columns or their order."""
        if isinstance(error, ServiceError) and error.code != _REPLACED:
            return False
        before = self.model.bundle_digest
        return self.get_model().bundle_digest != before

    def score_rows(
        self,
        rows: FloatArray,
        num_samples: int | None = None,
        target_fpr: float | None = None,
        max_std_error: float | None = None,
    ) -> Scores:
        """:meth:`score` of float64 rows (N, D) in the order of :attr:`schema`; the service has one target only."""
        _refuse_target(target_fpr)
        budgets = list(self.model.estimator.budgets)
        if num_samples is not None and num_samples not in budgets:
            raise ConfigError(f"num_samples must be one of {', '.join(map(str, budgets))}, got {num_samples!r}")
        check_error(max_std_error)
        budget = self.num_samples if num_samples is None else int(num_samples)
        if len(rows) == 0:
            return no_scores(calibrated=budget == self.num_samples and max_std_error is None)
        options = {"num_samples": budget, "max_std_error": max_std_error or 0.0}
        return join([to_scores(reply, n) for reply, n in self._replies(rows, budget, options)])

    def flag_rows(self, rows: FloatArray, target_fpr: float | None = None) -> Flags:
        """:meth:`flag` of float64 rows (N, D) in the order of :attr:`schema`; the service has one target only."""
        _refuse_target(target_fpr)
        if len(rows) == 0:
            return Flags(is_anomaly=np.empty(0, dtype=bool), num_samples=np.empty(0, dtype=np.int64), reason=[])
        return join([to_flags(reply, n) for reply, n in self._replies(rows, self.num_samples, {"flag_only": True})])

    def _replies(
        self, rows: FloatArray, budget: int, options: dict[str, Any]
    ) -> Iterator[tuple[pb.ScoreResponse, int]]:
        """Replies to calls of some of the rows each, with their number."""
        step = self._rows_per_call(rows.shape[1], budget)
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            yield self._score_part(part, options), len(part)

    def _rows_per_call(self, num_columns: int, budget: int) -> int:
        """Rows in messages of about a megabyte, and of a few seconds' work: far from the limits and the timeout."""
        limits = self.model.limits
        fitting = min(_BYTES_PER_CALL, limits.max_message_bytes // 2) // (8 * num_columns)
        return max(1, min(fitting, _SAMPLES_PER_CALL // budget, limits.max_rows))

    def _score_part(self, rows: FloatArray, options: dict[str, Any]) -> pb.ScoreResponse:
        values = np.ascontiguousarray(rows, dtype="<f8")
        tensor = pb.Tensor(data=values.tobytes(), dtype="FP64", shape=values.shape)
        reply: pb.ScoreResponse = self._call(
            self._stub.Score, pb.ScoreRequest(**self._model, **options, tensor=tensor), self._timeout
        )
        if reply.bundle_digest != self.model.bundle_digest:
            raise ServiceError(
                f"{self._target}: another model is served now than a moment ago; score the rows again", code=_REPLACED
            )
        return reply

    def _describe(self, timeout: float | None) -> pb.Model:
        described: pb.Model = self._call(self._stub.GetModel, pb.GetModelRequest(**self._model), timeout)
        self._described = described
        return described

    def _call(self, method: Callable[..., Reply], request: object, timeout: float | None) -> Reply:
        try:
            return method(request, timeout=timeout)
        except grpc.RpcError as error:
            raise explained(error, self._target) from error


def _refuse_target(target_fpr: float | None) -> None:
    if target_fpr is not None:
        raise ConfigError("target_fpr: a service flags at the target of its model; calibrate and serve another")
