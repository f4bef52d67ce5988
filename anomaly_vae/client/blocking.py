"""The client for programs without an event loop."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from anomaly_vae.client.channel import Channel, finish
from anomaly_vae.client.connection import connection_to
from anomaly_vae.client.credentials import Tls
from anomaly_vae.client.requests import schema_of
from anomaly_vae.client.session import Session
from anomaly_vae.densities import FloatArray
from anomaly_vae.schema import Schema
from anomaly_vae.scores import Flags, Scores, warn_uncalibrated
from anomaly_vae.service.pb import scoring_pb2 as pb

__all__ = ["Client"]


class Client:
    """A connection to a scoring service; use it as a context manager. Calls from several threads are safe.

    Many rows go in several calls, two of them under way at a time; scores come back in the order of the rows, and the
    first call that fails ends the others.

    A call is sent again, until its timeout, if the service is not there, ends or is killed meanwhile, or has too many
    rows waiting. The waits are random, grow to a second (five where rows wait), and are never shorter than the service
    asks for; if that is longer than the timeout allows, the error is raised at once. So is one that will not pass:
    wrong certificates, or TLS on one side only. The logger "anomaly_vae.client" warns after two seconds without a
    service.

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
        retries: int | None = None,
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
            retries: How often a call is sent again, at most; 0 for never, None for as often as the timeout allows.
                Without a timeout either, a call whose service never comes back never ends.
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
        self._channel = Channel(self._connection)
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

    def wait_until_ready(self, timeout: float = 30.0, *, first_answer: float | None = None) -> None:
        """Wait until the service answers and its model is loaded.

        Args:
            timeout: Seconds to wait at most.
            first_answer: Seconds after which to give up if nothing at all answers there, such as at a mistyped
                address; a service that starts or ends says so, and is waited for. None for the timeout.

        Raises:
            ServiceError: It did not within that time.
        """
        finish(self._session.wait_until_ready(timeout, first_answer))

    def get_model(self) -> pb.Model:
        """What is served, asked anew: columns, threshold, calibration, estimator, limits.

        Raises:
            ServiceError: The call failed.
        """
        return finish(self._session.get_model())

    @property
    def model(self) -> pb.Model:
        """:meth:`get_model` as it was when last asked."""
        return finish(self._session.model())

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
        scores = finish(self._session.score(data, num_samples, max_std_error))
        warn_uncalibrated(num_samples, self.num_samples, max_std_error)
        return scores

    def flag(self, data: Any) -> Flags:
        """Decide only which rows are anomalies, as :meth:`anomaly_vae.scorer.Scorer.flag` does.

        Args:
            data: As for :meth:`score`.

        Raises:
            InvalidInput, Overloaded, ServiceError: As for :meth:`score`.
        """
        return finish(self._session.flag(data))

    def score_rows(
        self,
        rows: FloatArray,
        num_samples: int | None = None,
        target_fpr: float | None = None,
        max_std_error: float | None = None,
    ) -> Scores:
        """:meth:`score` of float64 rows (N, D) in the order of :attr:`schema`; the service has one target only."""
        return finish(self._session.score_rows(rows, num_samples, target_fpr, max_std_error))

    def flag_rows(self, rows: FloatArray, target_fpr: float | None = None) -> Flags:
        """:meth:`flag` of float64 rows (N, D) in the order of :attr:`schema`; the service has one target only."""
        return finish(self._session.flag_rows(rows, target_fpr))
