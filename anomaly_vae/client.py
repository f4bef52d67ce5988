"""Scores rows by a running service: numpy, DataFrame or Arrow table in, Scores out. Needs the [serve] extra."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import numpy as np
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from grpc_status import rpc_status

from anomaly_vae.densities import FloatArray
from anomaly_vae.errors import ConfigError, InvalidInput, Overloaded, ServiceError
from anomaly_vae.schema import Column, Schema, to_rows
from anomaly_vae.scores import Scores, join_scores, warn_uncalibrated
from anomaly_vae.service.pb import scoring_pb2 as pb
from anomaly_vae.service.pb.scoring_pb2_grpc import ScoringServiceStub

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
                kind="constant" if column.kind == "constant" else "continuous",
                value=column.value if column.HasField("value") else None,
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
        """Rows with ``log_px`` strictly below it are anomalies, nats in data units."""
        return float(self.model.calibration.threshold)

    def score(self, data: Any, num_samples: int | None = None) -> Scores:
        """Score every row, or none, as :meth:`anomaly_vae.scorer.Scorer.score` does, with the same bits.

        Args:
            data: Rows in data units: an array (N, D) in the model's order, a DataFrame or an Arrow table with its
                columns in any order.
            num_samples: Another budget than the calibrated one; then there is no p-value and no flag.

        Raises:
            InvalidInput: Columns missing or not numeric, or a value missing or not finite.
            ConfigError: A budget that cannot be.
            Overloaded: Too many rows wait at the service.
            ServiceError: The call failed for another reason.
        """
        try:
            scores = self.score_rows(to_rows(data, self.schema), num_samples)
        except (InvalidInput, ConfigError, ServiceError) as error:
            if not self._has_changed(error):
                raise
            scores = self.score_rows(to_rows(data, self.schema), num_samples)
        warn_uncalibrated(num_samples, self.num_samples)
        return scores

    def _has_changed(self, error: InvalidInput | ConfigError | ServiceError) -> bool:
        """Whether a failure may be due to another model in this one's place, with other columns or their order."""
        if isinstance(error, ServiceError) and error.code != _REPLACED:
            return False
        before = self.model.bundle_digest
        return self.get_model().bundle_digest != before

    def score_rows(self, rows: FloatArray, num_samples: int | None = None, target_fpr: float | None = None) -> Scores:
        """:meth:`score` of float64 rows (N, D) in the order of :attr:`schema`; the service has one target only."""
        if target_fpr is not None:
            raise ConfigError("target_fpr: a service flags at the target of its model; calibrate and serve another")
        budgets = list(self.model.estimator.budgets)
        if num_samples is not None and num_samples not in budgets:
            raise ConfigError(f"num_samples must be one of {', '.join(map(str, budgets))}, got {num_samples!r}")
        budget = self.num_samples if num_samples is None else num_samples
        if len(rows) == 0:
            return _no_scores(calibrated=budget == self.num_samples)
        step = self._rows_per_call(rows.shape[1], budget)
        return join_scores([self._score_part(rows[i : i + step], budget) for i in range(0, len(rows), step)])

    def _rows_per_call(self, num_columns: int, budget: int) -> int:
        """Rows in messages of about a megabyte, and of a few seconds' work: far from the limits and the timeout."""
        limits = self.model.limits
        fitting = min(_BYTES_PER_CALL, limits.max_message_bytes // 2) // (8 * num_columns)
        return max(1, min(fitting, _SAMPLES_PER_CALL // budget, limits.max_rows))

    def _score_part(self, rows: FloatArray, budget: int) -> Scores:
        values = np.ascontiguousarray(rows, dtype="<f8")
        tensor = pb.Tensor(data=values.tobytes(), dtype="FP64", shape=values.shape)
        request = pb.ScoreRequest(**self._model, num_samples=budget, tensor=tensor)
        reply: pb.ScoreResponse = self._call(self._stub.Score, request, self._timeout)
        if reply.bundle_digest != self.model.bundle_digest:
            raise ServiceError(
                f"{self._target}: another model is served now than a moment ago; score the rows again", code=_REPLACED
            )
        return _scores(reply, len(rows))

    def _describe(self, timeout: float | None) -> pb.Model:
        described: pb.Model = self._call(self._stub.GetModel, pb.GetModelRequest(**self._model), timeout)
        self._described = described
        return described

    def _call(self, method: Callable[..., Reply], request: object, timeout: float | None) -> Reply:
        try:
            return method(request, timeout=timeout)
        except grpc.RpcError as error:
            raise _explained(error, self._target) from error


def _scores(reply: pb.ScoreResponse, num_rows: int) -> Scores:
    calibrated = len(reply.p_value) > 0
    scores = Scores(
        log_px=np.array(reply.log_px, dtype=np.float64),
        elbo=np.array(reply.elbo, dtype=np.float64),
        std_error=np.array(reply.std_error, dtype=np.float64),
        ess_ratio=np.array(reply.ess_ratio, dtype=np.float64),
        p_value=np.array(reply.p_value, dtype=np.float64) if calibrated else None,
        is_anomaly=np.array(reply.is_anomaly, dtype=bool) if calibrated else None,
        num_samples=np.array(reply.num_samples, dtype=np.int64),
        reason=[reason or None for reason in reply.reason],
    )
    for name, values in vars(scores).items():
        if values is not None and len(values) != num_rows:
            raise ServiceError(f"the reply has {len(values)} entries of {name} for {num_rows} rows", code="INTERNAL")
    return scores


def _no_scores(*, calibrated: bool) -> Scores:
    none = np.empty(0)
    return Scores(
        log_px=none,
        elbo=none,
        std_error=none,
        ess_ratio=none,
        p_value=none if calibrated else None,
        is_anomaly=np.empty(0, dtype=bool) if calibrated else None,
        num_samples=np.empty(0, dtype=np.int64),
        reason=[],
    )


def _explained(error: grpc.RpcError, target: str) -> Exception:
    code, text = error.code(), f"{target}: {error.details()}"
    field, retry_after = _details(error)
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return InvalidInput(text, field=field)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and retry_after is not None:
        return Overloaded(text, retry_after=retry_after)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        text = f"{target}: no reply in time; ask for fewer rows a call, or allow a longer timeout"
    if code is grpc.StatusCode.UNAVAILABLE and ("failed to connect" in text or "resol" in text):
        text = (
            f"{target}: no service answers there: it is not started (`anomaly-vae serve`), or shutting down, "
            "or the address is wrong"
        )
    return ServiceError(text, code=code.name)


def _details(error: grpc.RpcError) -> tuple[str | None, float | None]:
    """The field at fault and the seconds to wait, where the status has them."""
    field, retry_after = None, None
    try:
        status = rpc_status.from_call(error)
    except (ValueError, DecodeError):  # not what the service sends: something between it and us
        return field, retry_after
    for detail in status.details if status else ():
        violations, retry = BadRequest(), RetryInfo()
        if detail.Unpack(violations) and violations.field_violations:
            field = violations.field_violations[0].field
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.ToMilliseconds() / 1000
    return field, retry_after
