"""The client for programs without an event loop."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from anomaly_vae.arrays import FloatArray
from anomaly_vae.arrow.methods import ScoresArrow
from anomaly_vae.calibration import PValueGrid
from anomaly_vae.client.blocking_transport import BlockingTransport, run_blocking
from anomaly_vae.client.connection import connection_settings
from anomaly_vae.client.credentials import Tls
from anomaly_vae.client.requests import refuse_target
from anomaly_vae.client.session import Session
from anomaly_vae.columns.schema import Schema
from anomaly_vae.columns.shapes import Shape
from anomaly_vae.explained import Why
from anomaly_vae.record import Tail
from anomaly_vae.score_options import ScoreOptions, warn_uncalibrated
from anomaly_vae.scores import Flags, Scores
from anomaly_vae.service.pb import scoring_pb2 as pb

__all__ = ["Client"]


class Client(ScoresArrow):
    """A connection to a scoring service; use it as a context manager. Several threads may use one client.

    Many rows are sent in several calls, two at a time. The scores come back in the order of the rows. The first call
    that fails cancels the others.

    A failed call is sent again until its timeout if the service is not reachable, stops during the call, or has a full
    queue. The waits between attempts are random. They grow to 1 s, or to 5 s if the queue is full, and are never
    shorter than the service requests. If the service requests a wait that is longer than the time left, the error is
    raised at once. Errors that would repeat are also raised at once: wrong certificates, or TLS on one side only. The
    logger "anomaly_vae.client" warns after 2 s without a service.

    Example:
        with Client("127.0.0.1:50051") as client:
            scores = client.score(X)
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
    ) -> None:
        """Prepare a connection; it is made when the first call is sent.

        Args:
            target: "host:port", plaintext unless ``tls`` is given; "grpc://host:port" for plaintext,
                "grpcs://host:port" for TLS. "/NAME" or "/NAME/VERSION" after it chooses a model.
            model_name: The model; empty for the one in ``target``, and without one for the only model of the service.
            model_version: Its version; empty for the one in ``target``, and without one for the version that the
                service gives.
            timeout: Seconds for one call with all its retries; None for no limit. Many rows need several calls, so
                that scoring them may take longer.
            retries: How often a call is sent again at most: 0 for never, None for as often as the timeout allows. With
                ``timeout=None`` as well, a call waits without limit for a service that stays away.
            tls: The authorities to trust, and the client's own certificate; None for the public authorities and no
                client certificate.
            token: Identifies the caller to the service; sent only by TLS or within this machine. None for the value
                of the environment variable ANOMALY_VAE_TOKEN, if it is set; empty for no token.

        Raises:
            ConfigError: An argument is wrong, or a file of ``tls`` cannot be used.
        """
        settings = connection_settings(
            target,
            model_name=model_name,
            model_version=model_version,
            timeout=timeout,
            retries=retries,
            tls=tls,
            token=token,
        )
        self._settings = settings
        self._transport = BlockingTransport(settings)
        self._session = Session(settings, self._transport)

    def __repr__(self) -> str:
        """Return the address; the token is never shown."""
        return f"Client({str(self._settings.target)!r})"

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection; calls in progress fail."""
        self._transport.close()

    def wait_until_ready(self, timeout: float = 30.0, *, first_answer: float | None = None) -> None:
        """Wait until the service answers and its model is loaded.

        Args:
            timeout: Seconds to wait at most.
            first_answer: Seconds to wait at most if nothing answers at the address, for example because it is
                mistyped. A service that is starting or stopping does answer, and is waited for until the timeout.
                None for the timeout.

        Raises:
            ServiceError: The time passed.
        """
        run_blocking(self._session.wait_until_ready(timeout, first_answer))

    def get_model(self) -> pb.Model:
        """Request the description of the model: columns, threshold, calibration, estimator, limits.

        Raises:
            ServiceError: The call failed.
        """
        return run_blocking(self._session.get_model())

    @property
    def model(self) -> pb.Model:
        """The description of the model at the last request; the first use requests it, as ``get_model``."""
        return run_blocking(self._session.model())

    @property
    def schema(self) -> Schema:
        """The model's columns; ``schema.names`` lists them in order, ``schema.shape`` is the shape of its rows."""
        return self._session.schema_of(self.model)

    @property
    def shape(self) -> Shape | None:
        """What a row is: a window of a series or an image; None for a row of a table."""
        return self.schema.shape

    @property
    def num_samples(self) -> int:
        """Most decoder evaluations per row in the calibration."""
        return int(self.model.estimator.num_samples)

    @property
    def threshold(self) -> float:
        """The threshold, nats in data units: a row is an anomaly if its score is strictly below it."""
        return float(self.model.calibration.threshold)

    @property
    def upper_threshold(self) -> float | None:
        """The upper threshold, nats: a row is also an anomaly if its score is strictly above it. None without one."""
        calibration = self.model.calibration
        return float(calibration.upper_threshold) if calibration.HasField("upper_threshold") else None

    @property
    def tail(self) -> Tail:
        """Whether only low scores are anomalies ("low"), or also high ones ("both")."""
        return "low" if self.upper_threshold is None else "both"

    @property
    def has_contrast(self) -> bool:
        """Whether rows have a contrast beside the score, as those of most models of images have."""
        return bool(self.model.calibration.HasField("contrast_threshold"))

    def thresholds(self, *, target_fpr: float | None = None, tail: Tail | None = None) -> tuple[float, float | None]:
        """Return the threshold and the upper one of the model, nats; None without an upper one.

        Args:
            target_fpr, tail: As for ``score``.

        Raises:
            ConfigError: One of them is given.
        """
        refuse_target(target_fpr, tail)
        return self.threshold, self.upper_threshold

    def p_value_grid(self, *, tail: Tail | None = None) -> PValueGrid:
        """Return the values that p-values can have, and whose they are.

        Args:
            tail: As for ``score``.

        Raises:
            ConfigError: A tail is given.
        """
        refuse_target(None, tail)
        model, digest = self.model, self.model.bundle_digest or None
        n, novel = model.calibration.num_rows, model.calibration.num_novel
        return PValueGrid.of(n, novel, self.tail, contrast=self.has_contrast, bundle_digest=digest)

    def score(
        self,
        X: Any,  # noqa: N803 (the name that scikit-learn uses)
        *,
        num_samples: int | None = None,
        max_std_error: float | None = None,
        target_fpr: float | None = None,
        tail: Tail | None = None,
    ) -> Scores:
        """Score every row, with exactly the result of ``Scorer.score``.

        Args:
            X: Rows in data units: an array (N, D) in the model's column order, or a DataFrame or Arrow table with its
                columns in any order. Windows (N, length, channels) and images (N, height, width, channels) for a model
                of those; with one channel its axis may be left out.
            num_samples: A fixed number of decoder evaluations per row; None for the rule of the calibration, which
                spends what a row needs. With another number there is no p-value and no flag.
            max_std_error: Another error target, nats: sampling of a row ends when its standard error is at most this.
                There is no p-value and no flag.
            target_fpr, tail: Must be None: a service flags at the target and the tail of its model.

        Raises:
            InvalidInput: A column is missing, the shape is wrong, a number is expected but text is found, or a value is
                infinite.
            ConfigError: An option is wrong.
            Overloaded: The service's queue is full.
            ServiceError: The call failed for another reason.
        """
        options = ScoreOptions(num_samples=num_samples, max_std_error=max_std_error, target_fpr=target_fpr, tail=tail)
        scores = run_blocking(self._session.score(X, options))
        warn_uncalibrated(options, self.num_samples)
        return scores

    def flag(
        self,
        X: Any,  # noqa: N803 (the name that scikit-learn uses)
        *,
        target_fpr: float | None = None,
        tail: Tail | None = None,
    ) -> Flags:
        """Decide which rows are anomalies, with exactly the result of ``Scorer.flag``.

        Args:
            X, target_fpr, tail: As for ``score``.

        Raises:
            InvalidInput, ConfigError, Overloaded, ServiceError: As for ``score``.
        """
        return run_blocking(self._session.flag(X, target_fpr, tail))

    def explain(
        self,
        X: Any,  # noqa: N803 (the name that scikit-learn uses)
        *,
        top: int = 3,
    ) -> list[list[Why]]:
        """Say why rows are anomalies, with exactly the result of ``Scorer.explain``.

        Args:
            X: As for ``score``. Every row is explained, which takes as long as many scores.
            top: Columns of each row, at most the limit of the service, 16.

        Raises:
            InvalidInput, Overloaded, ServiceError: As for ``score``.
            ConfigError: ``top`` is not possible, or the service is of a release that explains no rows.
        """
        return run_blocking(self._session.explain(X, top))

    def explain_rows(
        self, rows: FloatArray, *, top: int = 3, on_rows: Callable[[int], None] | None = None
    ) -> list[list[Why]]:
        """Like ``explain``, for float64 rows (N, D) in the order of ``schema``.

        Args:
            rows: Data units.
            top: As for ``explain``.
            on_rows: Called with the number of rows of each call that was answered.
        """
        return run_blocking(self._session.explain_rows(rows, top, on_rows))

    def score_rows(
        self,
        rows: FloatArray,
        *,
        num_samples: int | None = None,
        max_std_error: float | None = None,
        target_fpr: float | None = None,
        tail: Tail | None = None,
    ) -> Scores:
        """Like ``score``, for float64 rows (N, D) in the order of ``schema``; never warns."""
        options = ScoreOptions(num_samples=num_samples, max_std_error=max_std_error, target_fpr=target_fpr, tail=tail)
        return run_blocking(self._session.score_rows(rows, options))

    def flag_rows(self, rows: FloatArray, *, target_fpr: float | None = None, tail: Tail | None = None) -> Flags:
        """Like ``flag``, for float64 rows (N, D) in the order of ``schema``."""
        return run_blocking(self._session.flag_rows(rows, target_fpr, tail))
